"""How the agent of a node hands pods to a ztunnel (ZDS, §2.7): what to say next, without sockets.

ztunnel says hello, is told of every pod there is, each with its network namespace, and that this was all; from then
on of what comes and goes. Each message is answered before the next one is sent. A pod whose namespace is not at hand
is kept if ztunnel has it from before: it must not be dropped because of not having looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from isthmus.proto import zds_pb2 as pb


class ProtocolError(Exception):
    """The other side does not speak as it should: the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A pod to be served. `netns` is where its network namespace is found, empty if that is not known."""

    uid: str
    namespace: str
    name: str
    service_account: str
    netns: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """A message to send now; with `netns` a file descriptor of that namespace goes with it."""

    data: bytes
    netns: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """ztunnel took a pod, or says why it could not (it tries again by itself)."""

    uid: str
    error: str = ""


class HandoverSession:
    """One connection of a ztunnel."""

    def __init__(self) -> None:
        self._greeted = False
        self._complete = False
        self._told: dict[str, Handed] = {}
        self._asked: tuple[str, Handed | None] | None = None

    @property
    def complete(self) -> bool:
        """True once everything that was there at first was told and answered."""
        return self._complete and self._asked is None

    def receive(self, data: bytes) -> Answered | None:
        """Take a packet. Raises ProtocolError."""
        if not self._greeted:
            self._greet(data)
            return None
        try:
            response = pb.WorkloadResponse.FromString(data)
        except DecodeError as error:
            raise ProtocolError("ztunnel's answer cannot be read") from error
        if self._asked is None or response.WhichOneof("payload") != "ack":
            raise ProtocolError("ztunnel answers what nobody asked")
        uid, pod = self._asked
        self._asked = None
        if pod is not None:
            self._told[uid] = pod
        return Answered(uid, response.ack.error) if uid else None

    def _greet(self, data: bytes) -> None:
        try:
            hello = pb.ZdsHello.FromString(data)
        except DecodeError as error:
            raise ProtocolError("ztunnel's greeting cannot be read") from error
        if hello.version != pb.V1:
            raise ProtocolError(f"ztunnel speaks version {hello.version} of the protocol, and here is version {pb.V1}")
        self._greeted = True

    def next(self, wanted: Mapping[str, Handed], *, adding: bool = True) -> Send | None:
        """What to send now; None if nothing is due, or an answer is awaited.

        `adding` False: another ztunnel is there that takes what is new, and this one only ends what ends.
        """
        if not self._greeted or self._asked is not None:
            return None
        for uid in sorted(self._told.keys() - wanted.keys()):
            del self._told[uid]
            if self._complete:
                return self._ask("", None, _removal(uid))
        for uid in sorted(wanted) if adding or not self._complete else ():
            pod = wanted[uid]
            if self._told.get(uid) != pod and (pod.netns or not self._complete):
                return self._ask(uid, pod, _addition(pod) if pod.netns else _keep(pod), pod.netns)
        if self._complete:
            return None
        self._complete = True
        return self._ask("", None, pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent()))

    def failed(self) -> None:
        """What was to be sent could not be, as the namespace is gone: go on as if it were not known."""
        uid, pod = self._asked or ("", None)
        if pod is not None:
            self._told[uid] = pod
        self._asked = None

    def again(self, uid: str) -> None:
        """Tell of this pod once more, though nothing about it is new."""
        self._told.pop(uid, None)

    def _ask(self, uid: str, pod: Handed | None, message: pb.WorkloadRequest, netns: str = "") -> Send:
        self._asked = uid, pod
        return Send(message.SerializeToString(), netns)


def _addition(pod: Handed) -> pb.WorkloadRequest:
    info = pb.WorkloadInfo(name=pod.name, namespace=pod.namespace, service_account=pod.service_account)
    return pb.WorkloadRequest(add=pb.AddWorkload(uid=pod.uid, workload_info=info))


def _keep(pod: Handed) -> pb.WorkloadRequest:
    return pb.WorkloadRequest(keep=pb.KeepWorkload(uid=pod.uid))


def _removal(uid: str) -> pb.WorkloadRequest:
    message = pb.WorkloadRequest()
    getattr(message, "del").uid = uid
    return message
