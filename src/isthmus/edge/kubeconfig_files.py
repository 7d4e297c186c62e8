"""Reads kubeconfig files of a directory, as a volume mounts them (RS9)."""

from pathlib import Path

MOST_BYTES = 1024 * 1024
"""Of one file: what is longer is no kubeconfig."""


def read_kubeconfigs(directory: str) -> dict[str, bytes]:
    """Content of each file by its name; what begins with a dot is the volume's own. Raises OSError."""
    found = {}
    for path in sorted(Path(directory).iterdir()):
        if not path.name.startswith(".") and path.is_file() and path.stat().st_size <= MOST_BYTES:
            found[path.name] = path.read_bytes()
    return found
