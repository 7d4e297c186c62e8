"""Texts that go into Envoy's configuration as small languages of their own.

Envoy refuses a whole route configuration for one bad expression, and with it what everybody else said. So what it
would refuse must never get there.
"""

import re

_MISSING = (
    (r"\(\?<?[=!]", "looks ahead or behind"),
    (r"\(\?P=", "refers back to a group"),
    (r"\(\?\(", "depends on a group"),
    (r"\(\?>", "has an atomic group"),
    (r"\(\?#", "has a comment"),
)
_OWN = (
    (r"\[:\^?[a-z]+:\]", "a-z"),
    (r"\\[pP](?:\{\^?\w+\}|\w)", "a"),
    (r"\\z", "$"),
    (r"\(\?[imsU]*(?:-[imsU]+)?\)", ""),
    (r"\(\?[imsU]*(?:-[imsU]+)?:", "(?:"),
    (r"\\C", "."),
)
"""What RE2 has and Python does not, and something that Python takes in its place."""

MOST_REPETITIONS = 1000

_PERCENT = re.compile(r"%%|%(?P<command>[A-Z0-9_]+)(?:\([^%()]*\))?(?::[0-9]+)?%")

_COMMANDS = """
    REQ RESP TRAILER HOSTNAME PROTOCOL START_TIME START_TIME_LOCAL EMIT_TIME DURATION BYTES_RECEIVED BYTES_SENT
    RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_FLAGS ROUTE_NAME VIRTUAL_CLUSTER_NAME ENVIRONMENT CONNECTION_ID
    CONNECTION_TERMINATION_DETAILS REQUESTED_SERVER_NAME UPSTREAM_HOST UPSTREAM_CLUSTER UPSTREAM_LOCAL_ADDRESS
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_METADATA DYNAMIC_METADATA
    CLUSTER_METADATA FILTER_STATE GRPC_STATUS DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_URI_SAN
    DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_ISSUER
    DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_FINGERPRINT_256
    DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CERT_V_START
    DOWNSTREAM_PEER_CERT_V_END
"""
COMMANDS = frozenset(_COMMANDS.split())
"""What may stand between two percent signs in the value of a header."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def regex_fault(text: str) -> str:
    """What is wrong with an RE2 expression, empty if nothing is known to be."""
    bare = re.sub(r"\\\\", "", text)
    for pattern, message in _MISSING:
        if re.search(pattern, bare):
            return f"{message}, which RE2 cannot"
    if re.search(r"\\[1-9]", bare):
        return "refers back to a group, which RE2 cannot"
    if any(
        int(number) > MOST_REPETITIONS
        for pair in re.findall(r"\{(\d+)(?:,(\d*))?\}", bare)
        for number in pair
        if number
    ):
        return f"repeats more than {MOST_REPETITIONS} times"
    plain = text
    for pattern, stand_in in _OWN:
        plain = re.sub(pattern, stand_in, plain)
    if re.search(r"(?<!\\)[*+?}]\+", re.sub(r"\[[^]]*\]", "", bare)):
        return "has a possessive quantifier, which RE2 cannot"
    try:
        re.compile(plain)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return ""


def format_fault(text: str) -> str:
    """What is wrong with a header's value, in which %…% stands for something that Envoy fills in."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        return "holds a control character"
    rest = text
    for found in _PERCENT.finditer(text):
        command = found.group("command")
        if command is not None and command not in COMMANDS:
            return f"%{command}% is not known"
        rest = rest.replace(found.group(0), "", 1)
    return "holds a single %" if "%" in rest else ""


def is_header_name(text: str) -> bool:
    """True for a name that a header may have (RFC 9110), no pseudo header."""
    return _TOKEN.fullmatch(text) is not None
