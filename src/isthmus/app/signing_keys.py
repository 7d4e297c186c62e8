"""The keys that sign the clusters' tokens, at hand before an API server is gone, also over a restart."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from isthmus.edge.authenticate import Authenticator
from isthmus.edge.whole_file import replace_file

log = structlog.get_logger()

FILE = "signing-keys.json"
INTERVAL = 30.0
"""Seconds between looks at the clusters' signing keys; each is asked again when its answer is old."""

RETRY_SECONDS = 1.0
"""The same while the keys of a cluster are not known."""


class SigningKeys:
    """Feeds the authenticator with what was kept, and keeps what it learns. `keep_in` None: nothing is kept."""

    def __init__(
        self, authenticator: Authenticator, *, clusters: Callable[[], Sequence[str]], keep_in: Path | None
    ) -> None:
        self._authenticator = authenticator
        self._clusters = clusters
        self._file = keep_in / FILE if keep_in else None

    async def run(self) -> None:
        """Until it is cancelled."""
        saved = await asyncio.to_thread(_read, self._file)
        self._authenticator.adopt_keys(saved)
        while True:
            await asyncio.gather(*map(self._authenticator.refresh_keys, self._clusters()))
            known = self._authenticator.known_keys()
            if self._file and known != saved:
                saved = known
                await asyncio.to_thread(_write, self._file, known)
            await asyncio.sleep(INTERVAL if set(known) >= set(self._clusters()) else RETRY_SECONDS)


def _read(path: Path | None) -> dict[str, Mapping[str, Any]]:
    try:
        found = json.loads(path.read_text()) if path else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, keys: Mapping[str, Mapping[str, Any]]) -> None:
    try:
        replace_file(path, json.dumps(keys).encode())
    except OSError as error:
        log.warning("signing keys not kept", file=str(path), error=error.strerror)
