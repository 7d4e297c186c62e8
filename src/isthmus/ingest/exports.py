"""exportTo: the namespaces that see an object (TE1)."""

from collections.abc import Iterable

from isthmus.ingest.finding import Reader, is_host

ANNOTATION = "networking.istio.io/exportTo"

_WORDS = ("*", ".", "~")


def unknown(words: Iterable[str]) -> list[tuple[int, str]]:
    """Those that are neither a namespace nor a word, with their places."""
    return [(i, word) for i, word in enumerate(words) if word not in _WORDS and not _is_namespace(word)]


def of_annotation(read: Reader, text: str | None) -> tuple[str, ...]:
    """The words of a Service's annotation. A wrong one lets nobody in, and does not take the service away."""
    words = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    for _, word in unknown(words):
        read.warn(f"metadata.annotations[{ANNOTATION}]", f"{word!r} is no namespace", "Write a namespace, *, . or ~")
    return words


def _is_namespace(text: str) -> bool:
    return is_host(text) and "." not in text and "*" not in text
