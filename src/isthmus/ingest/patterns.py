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
    (r"\(\?[A-Za-z-]*[aLux][A-Za-z-]*[:)]", "has a flag"),
    (r"\\[ZuUN]", "has an escape"),
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
MOST_STEPS = 32768
"""Of the program that RE2 makes of an expression, as proxies are started (`re2.max_program_size.error_level`)."""

_POSIX = re.compile(r"\[:\^?(\w*):\]")
_POSIX_WORDS = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit"
_UNICODE = re.compile(r"\\[pP](?:\{\^?(\w+)\}|(\w))")
_UNICODE_WORDS = """
    Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs
    Arabic Armenian Bengali Common Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew
    Hiragana Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Sinhala Tamil Telugu Thai Tibetan
"""
_CLASSES = ((_POSIX, frozenset(_POSIX_WORDS.split())), (_UNICODE, frozenset(_UNICODE_WORDS.split())))
_PIECE = re.compile(
    r"(?P<count>\{(?P<low>\d+)(?:,(?P<high>\d*))?\})|(?P<open>\((?:\?(?:P<\w+>|[a-zA-Z-]*:?))?)|(?P<close>\))"
    r"|(?P<set>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\\[pP](?:\{\^?\w+\}|\w)|\\.|\.)|(?P<sign>[*+?|^$])|.",
    re.DOTALL,
)

MOST_BYTES = 16384
"""Of a header's name or value."""

_PERCENT = re.compile(r"%%|%(?P<command>[A-Z0-9_]+)(?P<argument>\([^%()]*\))?(?P<length>:[0-9]{1,5})?%")

_COMMANDS = """
    HOSTNAME PROTOCOL START_TIME START_TIME_LOCAL EMIT_TIME DURATION BYTES_RECEIVED BYTES_SENT
    RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_FLAGS ROUTE_NAME VIRTUAL_CLUSTER_NAME CONNECTION_ID
    CONNECTION_TERMINATION_DETAILS REQUESTED_SERVER_NAME UPSTREAM_HOST UPSTREAM_CLUSTER UPSTREAM_LOCAL_ADDRESS
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_REQUEST_ATTEMPT_COUNT GRPC_STATUS
    DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_URI_SAN
    DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_ISSUER
    DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_FINGERPRINT_256
    DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CERT_V_START
    DOWNSTREAM_PEER_CERT_V_END
"""
COMMANDS = frozenset(_COMMANDS.split())
"""What may stand alone between two percent signs in the value of a header.

There is no ENVIRONMENT: who writes a route is not who runs the proxies, and their environment is not his to send.
"""

_HEADER_ARGUMENT = re.compile(r"\(:?[A-Za-z0-9_.-]+(\?:?[A-Za-z0-9_.-]+)?\)")
_STATE_ARGUMENT = re.compile(r"\([\w.-]+(:(PLAIN|TYPED))?\)")
_PATH_ARGUMENT = re.compile(r"\([\w.:/-]+\)")
ARGUMENTS = {
    **dict.fromkeys(("REQ", "RESP", "TRAILER"), _HEADER_ARGUMENT),
    **dict.fromkeys(("UPSTREAM_METADATA", "DYNAMIC_METADATA", "CLUSTER_METADATA"), _PATH_ARGUMENT),
    "FILTER_STATE": _STATE_ARGUMENT,
}
"""What must have an argument, and may have a length; everything else has neither."""

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
    for kind, names in _CLASSES:
        for found in kind.finditer(bare):
            if next((group for group in found.groups() if group is not None), "") not in names:
                return f"has the class {found.group()}, which is not known"
    plain = text
    for pattern, stand_in in _OWN:
        plain = re.sub(pattern, stand_in, plain)
    if re.search(r"(?<!\\)[*+?}]\+", re.sub(r"\[[^]]*\]", "", bare)):
        return "has a possessive quantifier, which RE2 cannot"
    try:
        re.compile(plain)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return _size_fault(text)


def _size_fault(text: str) -> str:
    """What is wrong with the size of an expression: an estimate that is rather too great.

    A stack of groups, each with the steps of its parts and the most that something in it is repeated.
    """
    groups: list[list[int]] = [[0, 1]]
    last = (0, 1)
    for piece in _PIECE.finditer(text):
        if piece["open"]:
            groups.append([2, 1])
            last = (0, 1)
            continue
        if piece["close"] and len(groups) > 1:
            steps, times = groups.pop()
            last = (steps, times)
        elif piece["count"]:
            times = max(int(piece["low"]), int(piece["high"] or 0), 1)
            groups[-1][0] -= last[0]
            last = (last[0] * times, last[1] * times)
        elif piece["set"]:
            last = (8 * max(1, len(piece["set"]) // 2), 1)
        else:
            last = (2 * len(piece[0].encode()), 1)
        groups[-1][0] += last[0]
        groups[-1][1] = max(groups[-1][1], last[1])
    steps, times = (sum(group[0] for group in groups), max(group[1] for group in groups))
    if times > MOST_REPETITIONS:
        return f"repeats more than {MOST_REPETITIONS} times"
    return f"is too large: about {steps} steps" if steps > MOST_STEPS else ""


def format_fault(text: str) -> str:
    """What is wrong with a header's value, in which %…% stands for something that Envoy fills in."""
    if fault := line_fault(text):
        return fault
    rest = text
    for found in _PERCENT.finditer(text):
        if found.group("command") is not None and (fault := _command_fault(found)):
            return fault
        rest = rest.replace(found.group(0), "", 1)
    return "holds a single %" if "%" in rest else ""


def _command_fault(found: re.Match[str]) -> str:
    command, argument, length = found.group("command", "argument", "length")
    wanted = ARGUMENTS.get(command)
    if wanted is not None:
        return "" if wanted.fullmatch(argument or "") else f"%{command}(…)% has no argument that Envoy takes"
    if command not in COMMANDS:
        return f"%{command}% is not known"
    return f"%{command}% takes neither argument nor length" if argument or length else ""


def line_fault(text: str) -> str:
    """What is wrong with a text that becomes a part of a request's or response's head."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        return "holds a control character"
    return f"is longer than {MOST_BYTES} bytes" if len(text.encode()) > MOST_BYTES else ""


def is_header_name(text: str) -> bool:
    """True for a name that a header may have (RFC 9110), no pseudo header."""
    return len(text) <= MOST_BYTES and _TOKEN.fullmatch(text) is not None
