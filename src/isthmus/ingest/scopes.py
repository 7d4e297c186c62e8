"""Labels that say how far a service reaches: told where they are not understood, or contradict each other."""

from collections.abc import Mapping

from isthmus.base.labels import GLOBAL_LABEL, SERVICE_SCOPE_LABEL
from isthmus.ingest.finding import Reader
from isthmus.model.peering import SCOPE_WORDS, ServiceScope

_GLOBAL_WORDS = ("true", "false")


def check_labels(read: Reader, found: Mapping[str, str] | None) -> None:
    """The object counts whatever is wrong here: what is not understood exposes nothing."""
    said = found or {}
    word, flag = said.get(SERVICE_SCOPE_LABEL, "").lower(), said.get(GLOBAL_LABEL, "").lower()
    if word and word not in SCOPE_WORDS:
        message = f"{said[SERVICE_SCOPE_LABEL]!r} is not known, so this is not global"
        read.warn(f"metadata.labels[{SERVICE_SCOPE_LABEL}]", message, f"Use one of {', '.join(SCOPE_WORDS)}")
    if flag and flag not in _GLOBAL_WORDS:
        message = f"{said[GLOBAL_LABEL]!r} is not known, so this is not global"
        read.warn(f"metadata.labels[{GLOBAL_LABEL}]", message, "Use true or false")
    elif flag and word in SCOPE_WORDS and (flag == "true") == (SCOPE_WORDS[word] is ServiceScope.LOCAL):
        message = f"contradicts {SERVICE_SCOPE_LABEL}: {word}, which counts"
        read.warn(f"metadata.labels[{GLOBAL_LABEL}]", message, "Keep one of the two labels")
