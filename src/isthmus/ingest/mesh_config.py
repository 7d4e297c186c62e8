"""ConfigMap `istio` of the system namespace: the mesh configuration, as far as it says something about the cluster."""

from typing import Any

import yaml

from isthmus.ingest.finding import Reader, Result, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.rows import Cluster

CONFIG_MAP = "istio"
DATA_KEY = "mesh"


def mesh_config(place: Place, obj: objects.ConfigMap) -> Result:
    """The cluster with its trust domain (TR6). Whoever reads the cluster adds what else is known of it."""
    read = Reader(place.cluster, "ConfigMap", obj)
    if obj.metadata.name != CONFIG_MAP:
        return (), ()
    mesh = _document(read, obj)
    trust_domain = read.text(mesh.get("trustDomain"), f"data.{DATA_KEY}.trustDomain")
    if trust_domain and not is_host(trust_domain):
        read.error(
            f"data.{DATA_KEY}.trustDomain", f"{trust_domain!r} is no trust domain", "Use letters, digits, - and ."
        )
    if not trust_domain:
        return (), read.problems
    return read.result(Cluster(cluster=place.cluster, name=place.cluster, trust_domain=trust_domain))


def _document(read: Reader, obj: objects.ConfigMap) -> dict[str, Any]:
    text = (obj.data or {}).get(DATA_KEY, "")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        read.error(f"data.{DATA_KEY}", f"is no YAML{place}", "Correct the YAML of the mesh configuration")
        return {}
    return read.mapping(document, f"data.{DATA_KEY}")
