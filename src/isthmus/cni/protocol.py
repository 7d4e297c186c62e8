"""CNI from a plugin's side: environment and configuration in, result or error out as JSON.

https://www.cni.dev/docs/spec/ (1.1; 0.4.0 and 1.0.0 are the same for a plugin that changes no interface). Only the
standard library: each pod that starts on a node waits for this program to load.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

VERSION = "1.1.0"
VERSIONS = ("0.4.0", "1.0.0", VERSION)
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NO_CONTAINER = ("STATUS", "GC", "VERSION")


class Code:
    """Error codes of the specification, and from 100 on our own."""

    INCOMPATIBLE_VERSION = 1
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    NOT_DECODED = 6
    INVALID_CONFIGURATION = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    NOT_CAPTURED = 100


class CniError(Exception):
    """What a runtime is told, and an operator reads in the pod's events."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class Configuration:
    """The plugin's entry in the network's list of plugins. `patience`: seconds that a pod may wait to be captured."""

    version: str = VERSION
    socket: str = "/run/isthmus/cni.sock"
    excluded: frozenset[str] = frozenset()
    patience: float = 60.0
    previous: Json | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the runtime. `pod` are the arguments that Kubernetes' runtimes give (K8S_POD_NAME and its like)."""

    command: str
    configuration: Configuration
    container: str = ""
    netns: str = ""
    pod: Mapping[str, str] = field(default_factory=dict)

    @property
    def concerns_the_agent(self) -> bool:
        """False for what starts without asking: no pod of Kubernetes, or one of an excluded namespace."""
        namespace = self.pod.get("K8S_POD_NAMESPACE", "")
        return bool(namespace and self.pod.get("K8S_POD_NAME")) and namespace not in self.configuration.excluded

    def request(self) -> Json:
        """The question to the node's agent: `op` with who is concerned."""
        return {
            "op": self.command.lower(),
            "container": self.container,
            "netns": self.netns,
            "namespace": self.pod.get("K8S_POD_NAMESPACE", ""),
            "name": self.pod.get("K8S_POD_NAME", ""),
            "uid": self.pod.get("K8S_POD_UID", ""),
            "addresses": self.addresses,
        }

    @property
    def addresses(self) -> list[str]:
        """What the plugins before this one gave the pod: nobody else knows it before all plugins are done."""
        given = (self.configuration.previous or {}).get("ips")
        found = [item.get("address") for item in given if isinstance(item, dict)] if isinstance(given, list) else []
        return [str(address).partition("/")[0] for address in found if address]


def parse(environment: Mapping[str, str], document: str) -> Call:
    """The call that `environment` and the standard input `document` make. Raises CniError."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND is {command!r}", f"One of {', '.join(COMMANDS)}")
    if command == "VERSION":
        return Call(command, Configuration())
    configuration = _configuration(document)
    if command in _NO_CONTAINER:
        return Call(command, configuration)
    container, netns = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_NETNS", "")
    if not _CONTAINER_ID.fullmatch(container):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_CONTAINERID is {container!r}")
    if not environment.get("CNI_IFNAME"):
        raise CniError(Code.INVALID_ENVIRONMENT, "CNI_IFNAME is not set")
    if not netns and command != "DEL":  # a namespace that is gone already may be deleted from (spec, DEL)
        raise CniError(Code.INVALID_ENVIRONMENT, "CNI_NETNS is not set")
    if command != "DEL" and configuration.previous is None:
        raise CniError(
            Code.INVALID_CONFIGURATION,
            "there is no prevResult",
            "isthmus-cni comes after the plugin that makes the pod's interface, in the same list of plugins",
        )
    return Call(command, configuration, container, netns, _arguments(environment.get("CNI_ARGS", "")))


def _configuration(document: str) -> Configuration:
    try:
        found = json.loads(document)
    except ValueError as error:
        raise CniError(Code.NOT_DECODED, f"the network configuration is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CniError(Code.NOT_DECODED, "the network configuration is no JSON object")
    version = str(found.get("cniVersion") or "")
    if version not in VERSIONS:
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion {version!r} is not supported", f"One of {', '.join(VERSIONS)}"
        )
    default = Configuration()
    excluded, patience = found.get("excludeNamespaces") or [], found.get("patience", default.patience)
    previous = found.get("prevResult")
    if not isinstance(excluded, list) or not isinstance(patience, int | float) or isinstance(patience, bool):
        raise CniError(
            Code.INVALID_CONFIGURATION,
            "excludeNamespaces is no list, or patience no number",
            "isthmus-cni's entry is written by the agent of the node: let it write it again",
        )
    return Configuration(
        version=version,
        socket=str(found.get("socket") or default.socket),
        excluded=frozenset(map(str, excluded)),
        patience=float(patience),
        previous=previous if isinstance(previous, dict) else None,
    )


def _arguments(text: str) -> dict[str, str]:
    """`K8S_POD_NAMESPACE=a;K8S_POD_NAME=b`."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return {name: value for name, _, value in pairs}


def result(call: Call) -> str:
    """What a call that went well prints: the result before it, unchanged, for ADD; what it speaks, for VERSION."""
    if call.command == "VERSION":
        return json.dumps({"cniVersion": VERSION, "supportedVersions": list(VERSIONS)})
    if call.command == "ADD":
        return json.dumps({**(call.configuration.previous or {}), "cniVersion": call.configuration.version})
    return ""


def error(failure: CniError, version: str = VERSION) -> str:
    """What a call that failed prints."""
    said: Json = {"cniVersion": version, "code": failure.code, "msg": failure.message}
    return json.dumps({**said, "details": failure.details} if failure.details else said)


def read_answer(call: Call, answer: Mapping[str, Any]) -> None:
    """What the agent's answer means for a call. Raises CniError if it is no."""
    if answer.get("ok"):
        return
    code = Code.NOT_AVAILABLE if call.command == "STATUS" else Code.TRY_AGAIN_LATER
    if answer.get("final"):
        code = Code.NOT_CAPTURED
    raise CniError(code, str(answer.get("error") or "the agent of the node refused"), str(answer.get("remedy") or ""))
