"""The Gateway of a waypoint, as `isthmus waypoint` makes it."""

from isthmus.base.labels import WAYPOINT_FOR_LABEL
from isthmus.install.values import REVISION_LABEL, Manifest
from isthmus.model.managed import WAYPOINT_CLASS

DEFAULT_NAME = "waypoint"
HBONE_PORT = 15008


def waypoint(name: str, namespace: str, *, serves: str = "", revision: str = "") -> Manifest:
    """The object; what it serves and which control plane makes it are labels, left out where they are the default."""
    labels = {key: value for key, value in ((WAYPOINT_FOR_LABEL, serves), (REVISION_LABEL, revision)) if value}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})},
        "spec": {
            "gatewayClassName": WAYPOINT_CLASS,
            "listeners": [{"name": "mesh", "port": HBONE_PORT, "protocol": "HBONE"}],
        },
    }
