"""What a ztunnel is told of the pods of its node (§2.7), message by message."""

import pytest

from isthmus.proto import zds_pb2 as pb
from isthmus.ztunnel.handover import Answered, Handed, HandoverSession, ProtocolError

HELLO = pb.ZdsHello(version=pb.V1).SerializeToString()
ACK = pb.WorkloadResponse(ack=pb.Ack()).SerializeToString()
A, B = (Handed(uid, "sample", name, "sa", f"/netns/{uid}") for uid, name in (("a", "sleep"), ("b", "web")))


def said(session: HandoverSession, *pods: Handed, adding: bool = True) -> list[str]:
    """Everything that is sent while each message is accepted."""
    found = []
    while (command := session.next({pod.uid: pod for pod in pods}, adding=adding)) is not None:
        request = pb.WorkloadRequest.FromString(command.data)
        kind = str(request.WhichOneof("payload"))
        found.append(
            f"{kind} {getattr(getattr(request, kind), 'uid', '')}{' with ' * bool(command.netns)}{command.netns}"
        )
        session.receive(ACK)
    return found


def greeted() -> HandoverSession:
    session = HandoverSession()
    assert session.next({"a": A}) is None
    session.receive(HELLO)
    return session


def test_all_pods_then_that_it_was_all_then_what_comes_and_goes() -> None:
    session = greeted()
    assert said(session, A, B) == ["add a with /netns/a", "add b with /netns/b", "snapshot_sent "]
    assert session.complete
    assert said(session, A, B) == []
    assert said(session, B) == ["del a"]
    assert said(session, A, B) == ["add a with /netns/a"]


def test_the_next_message_waits_for_the_answer() -> None:
    session = greeted()
    wanted = {"a": A, "b": B}
    assert session.next(wanted) is not None
    assert session.next(wanted) is None
    assert session.receive(ACK) == Answered("a")
    assert session.next(wanted) is not None


def test_what_is_said_of_a_pod() -> None:
    command = greeted().next({"a": A})
    assert command is not None
    add = pb.WorkloadRequest.FromString(command.data).add
    info = add.workload_info
    assert (add.uid, info.namespace, info.name, info.service_account) == ("a", "sample", "sleep", "sa")


def test_a_pod_whose_namespace_is_not_at_hand_is_kept_at_first_and_told_later() -> None:
    session = greeted()
    unknown = Handed("a", "sample", "sleep", "sa")
    assert said(session, unknown) == ["keep a", "snapshot_sent "]
    assert said(session, unknown) == []
    assert said(session, A) == ["add a with /netns/a"]


def test_a_namespace_that_is_gone_when_it_is_opened_stops_nothing() -> None:
    session = greeted()
    assert session.next({"a": A, "b": B}) is not None
    session.failed()
    assert said(session, A, B) == ["add b with /netns/b", "snapshot_sent "]
    again = Handed("a", "sample", "sleep", "sa", "/netns/new")
    assert said(session, again, B) == ["add a with /netns/new"]


def test_one_that_is_gone_before_the_snapshot_is_not_named() -> None:
    session = greeted()
    session.next({"a": A})
    session.receive(ACK)
    assert said(session, B) == ["add b with /netns/b", "snapshot_sent "]


def test_a_ztunnel_with_a_successor_only_ends_what_ends() -> None:
    session = greeted()
    assert said(session, A) == ["add a with /netns/a", "snapshot_sent "]
    assert said(session, A, B, adding=False) == []
    assert said(session, B, adding=False) == ["del a"]


def test_a_refusal_is_told_with_its_reason() -> None:
    session = greeted()
    session.next({"a": A})
    refused = pb.WorkloadResponse(ack=pb.Ack(error="no such namespace")).SerializeToString()
    assert session.receive(refused) == Answered("a", "no such namespace")
    assert said(session, A) == ["snapshot_sent "]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (pb.ZdsHello().SerializeToString(), "version 0"),
        (pb.ZdsHello(version=7).SerializeToString(), "version 7"),  # type: ignore[arg-type]
        (b"\xff\xff", "greeting cannot be read"),
    ],
)
def test_a_greeting_that_is_none_ends_the_connection(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        HandoverSession().receive(data)


@pytest.mark.parametrize("data", [ACK, b"\xff", pb.WorkloadResponse().SerializeToString()])
def test_so_does_an_answer_to_nothing(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        greeted().receive(data)
