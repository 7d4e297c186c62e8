"""Files with what peers told last, so that a restart neither forgets a silent peer nor asks it for everything again."""

import hashlib
from pathlib import Path
from urllib.parse import quote

import msgspec

from isthmus.edge.whole_file import replace_file

FORMAT = 1
_SUFFIX = ".peer"
_DIGEST = 16


class KeptResource(msgspec.Struct, frozen=True, gc=False):
    """A resource as it was received."""

    type_url: str
    name: str
    version: str
    body: bytes


class Kept(msgspec.Struct, frozen=True):
    """What was known of one peer. `declared` is a digest of the link that it was told under; times in seconds.

    `entrances` were told under a link to the addresses `linked`.
    """

    peer: str
    declared: str
    resources: tuple[KeptResource, ...]
    updated: float = 0.0
    roots: str = ""
    entrances: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    format: int = FORMAT


class PeerFiles:
    """The files of one control plane; without a directory nothing is kept."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def read_all(self) -> tuple[dict[str, Kept], list[str]]:
        """What was kept, by peer, and why some of it is not usable."""
        found: dict[str, Kept] = {}
        damaged: list[str] = []
        for path in sorted(self._directory.glob("*" + _SUFFIX)) if self._directory else ():
            try:
                kept = _decode(path.read_bytes())
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                damaged.append(f"{path.name}: {error}")
            else:
                found[kept.peer] = kept
        return found, damaged

    def write(self, kept: Kept) -> None:
        """Replace a peer's file. Raises OSError."""
        if self._directory is not None:
            data = msgspec.msgpack.encode(kept)
            replace_file(self._path(kept.peer), hashlib.blake2b(data, digest_size=_DIGEST).digest() + data)

    def remove(self, peer: str) -> None:
        """Forget a peer."""
        if self._directory is not None:
            self._path(peer).unlink(missing_ok=True)

    def _path(self, peer: str) -> Path:
        assert self._directory is not None
        return self._directory / (quote(peer, safe="") + _SUFFIX)


def _decode(data: bytes) -> Kept:
    digest, rest = data[:_DIGEST], data[_DIGEST:]
    if hashlib.blake2b(rest, digest_size=_DIGEST).digest() != digest:
        raise ValueError("the file is damaged")
    kept = msgspec.msgpack.decode(rest, type=Kept)
    if kept.format != FORMAT:
        raise ValueError(f"written in format {kept.format}, this version reads {FORMAT}")
    return kept
