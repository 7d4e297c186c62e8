"""Files that are replaced whole or not at all: whoever reads meanwhile, or after a crash, finds the old content."""

from pathlib import Path

PRIVATE = 0o600
"""For the owner only."""


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Make the file hold `content`, and its directory if there is none. `mode` is cut by the umask. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.touch(mode=mode)
    fresh.write_bytes(content)
    fresh.replace(path)
