"""Labels that take pods into the mesh without sidecars: told where they are not understood."""

from collections.abc import Mapping

from isthmus.base.labels import DATAPLANE_MODE_LABEL
from isthmus.ingest.finding import Reader

MODES = ("ambient", "none")


def check_mode(read: Reader, found: Mapping[str, str] | None) -> None:
    """A namespace or pod counts whatever its label says; what is not understood captures nobody."""
    said = (found or {}).get(DATAPLANE_MODE_LABEL, "")
    if said and said not in MODES:
        message = f"{said!r} is not known, so no pod is captured by it"
        read.warn(f"metadata.labels[{DATAPLANE_MODE_LABEL}]", message, f"Use one of {', '.join(MODES)}")
