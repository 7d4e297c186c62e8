"""Policies as a user writes them, for tests: read like an object of the API server."""

from typing import Any

from isthmus.model.policy import AuthorizationPolicy
from tests.ingest.check import check


def policy(name: str, namespace: str = "sample", **fields: Any) -> AuthorizationPolicy:
    """The row of a correct policy of the config cluster; `dry_run` sets the annotation, the rest is its spec."""
    dry_run = {"annotations": {"istio.io/dry-run": "true"}} if fields.pop("dry_run", False) else {}
    metadata = {"name": name, "namespace": namespace, **dry_run}
    found = check("AuthorizationPolicy", {"metadata": metadata, "spec": fields})
    assert not found.problems, found.problems
    (row,) = found.rows or ()
    assert isinstance(row, AuthorizationPolicy)
    return row


def source(**fields: Any) -> dict[str, Any]:
    """A rule about who calls."""
    return {"from": [{"source": fields}]}


def operation(**fields: Any) -> dict[str, Any]:
    """A rule about what is called."""
    return {"to": [{"operation": fields}]}


def when(key: str, *values: str, **fields: Any) -> dict[str, Any]:
    """A rule with a condition; `nots` are its notValues."""
    nots = {"notValues": list(fields["nots"])} if "nots" in fields else {}
    return {"when": [{"key": key, **({"values": list(values)} if values else {}), **nots}]}
