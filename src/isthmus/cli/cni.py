"""`isthmus-cni`: the CNI plugin that holds a pod back until the proxy of its node captures its traffic.

A container runtime calls it after the plugin that makes the pod's network. It asks the agent of the node, and fails
closed: a pod that is to be captured never starts uncaptured.
"""

import os
import sys
from collections.abc import Mapping

from isthmus.cni import protocol
from isthmus.cni.protocol import VERSION, Call, CniError, Code
from isthmus.edge.cni_client import ask_agent

FORGET_PATIENCE = 5.0
"""Seconds that a pod's end may wait for the agent."""


def main() -> None:
    """Answer the call that this process was started with, on standard output; exit code 1 with an error of CNI."""
    said, code = run(os.environ, sys.stdin.read())
    if said:
        print(said)
    raise SystemExit(code)


def run(environment: Mapping[str, str], document: str) -> tuple[str, int]:
    """What to print for a call, and the exit code."""
    version = VERSION
    try:
        call = protocol.parse(environment, document)
        version = call.configuration.version
        if call.command == "STATUS" or (call.command in ("ADD", "CHECK", "DEL") and call.concerns_the_agent):
            _ask(call)
    except CniError as failure:
        return protocol.error(failure, version), 1
    return protocol.result(call), 0


def _ask(call: Call) -> None:
    """The end of a pod never fails: the agent finds out by itself what is no more (spec, DEL)."""
    ending = call.command == "DEL"
    patience = FORGET_PATIENCE if ending else call.configuration.patience
    try:
        answer = ask_agent(call.configuration.socket, call.request(), patience=patience)
    except OSError as error:
        if ending:
            return
        code = Code.NOT_AVAILABLE if call.command == "STATUS" else Code.TRY_AGAIN_LATER
        reason = f"no answer within {patience:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise CniError(
            code,
            f"the mesh's agent on this node does not answer at {call.configuration.socket}: {reason}",
            "Is the pod of the DaemonSet isthmus-node running on this node?",
        ) from error
    if not ending:
        protocol.read_answer(call, answer)


if __name__ == "__main__":
    main()
