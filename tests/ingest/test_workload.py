"""Pods."""

from typing import Any

import pytest

from isthmus.ingest.workload import workload_name
from isthmus.kube.objects import Metadata, OwnerReference
from isthmus.model.rows import SlicePort, Workload
from tests.ingest.check import check, complaints

GIVEN = "ambient.isthmus.dev/addresses"


def test_workload_row() -> None:
    found = check(
        "Pod",
        {
            "metadata": {
                "uid": "u",
                "labels": {"app": "x", "security.istio.io/tlsMode": "istio", "pod-template-hash": "7f"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7f", "controller": True}],
            },
            "spec": {
                "serviceAccountName": "sa",
                "nodeName": "n",
                "hostname": "h",
                "subdomain": "s",
                "initContainers": [{"name": "istio-proxy", "ports": [{"containerPort": 15090}]}],
                "containers": [
                    {
                        "name": "app",
                        "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 53, "protocol": "UDP"}],
                    },
                    {"name": "more"},
                ],
            },
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
            },
        },
    )
    assert found.problems == ()
    assert found.rows == (
        Workload(
            cluster="east",
            namespace="a",
            name="x",
            uid="u",
            addresses=("10.0.0.1", "fd00::1"),
            labels=(("app", "x"), ("pod-template-hash", "7f"), ("security.istio.io/tlsMode", "istio")),
            service_account="sa",
            node="n",
            ready=True,
            tls_mode="istio",
            ports=(SlicePort("web", 80),),
            workload_name="web",
            hostname="h",
            subdomain="s",
        ),
    )


def test_a_pod_without_address_yet_is_a_workload() -> None:
    found = check("Pod", {"spec": {}})
    assert found.rows == (Workload(cluster="east", namespace="a", name="x", workload_name="x"),)


@pytest.mark.parametrize(("leaves", "ready"), [({}, True), ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False)])
def test_a_pod_that_is_to_go_is_not_ready(leaves: dict[str, str], ready: bool) -> None:
    status = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    [row] = check("Pod", {"metadata": leaves, "status": status}).rows or ()
    assert isinstance(row, Workload)
    assert row.ready is ready


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_finished_is_none(phase: str) -> None:
    found = check("Pod", {"status": {"phase": phase, "podIP": "10.0.0.1"}})
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        ({}, None, "pod-1"),
        ({"pod-template-hash": "5d"}, OwnerReference("ReplicaSet", "web-5d", True), "web"),
        ({}, OwnerReference("ReplicaSet", "bare", True), "bare"),
        ({}, OwnerReference("StatefulSet", "db", True), "db"),
        ({}, OwnerReference("Job", "nightly-29000000", True), "nightly"),
        ({}, OwnerReference("Job", "once", True), "once"),
        ({}, OwnerReference("Deployment", "no-controller", None), "pod-1"),
        ({"service.istio.io/workload-name": "mine"}, OwnerReference("Job", "x", True), "mine"),
    ],
)
def test_workload_name_is_what_users_know(labels: dict[str, str], owner: OwnerReference | None, expected: str) -> None:
    meta = Metadata(name="pod-1", labels=labels, owner_references=[owner] if owner else None)
    assert workload_name(meta) == expected


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        ({"status": {"podIP": "x"}}, "status.podIPs"),
        ({"spec": {"containers": [{"ports": [{"containerPort": -1}]}]}}, "spec.containers[0].ports[0].containerPort"),
        ({"spec": {"containers": [{"ports": [{}]}]}}, "spec.containers[0].ports[0]"),
        ({"metadata": {"labels": ["a"]}}, "metadata.labels"),
    ],
)
def test_malformed_pods_are_refused_and_told(obj: dict[str, Any], field: str) -> None:
    found = check("Pod", obj)
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]
    assert found.key == ("a", "x")


@pytest.mark.parametrize(
    ("annotations", "told", "addresses"),
    [
        ({"ambient.istio.io/redirection": "pending", GIVEN: "10.0.0.7,fd00::7"}, [], ("10.0.0.7", "fd00::7")),
        ({"ambient.istio.io/redirection": "pending", GIVEN: "10.0.0.7"}, ["10.0.0.8"], ("10.0.0.8",)),
        ({"ambient.istio.io/redirection": "pending", GIVEN: "nonsense,"}, [], ()),
        ({"ambient.istio.io/redirection": "enabled", GIVEN: "10.0.0.7"}, [], ()),
        ({GIVEN: "10.0.0.7"}, [], ()),
    ],
)
def test_a_pod_that_is_being_captured_has_its_addresses_before_its_kubelet_tells_them(
    annotations: dict[str, str], told: list[str], addresses: tuple[str, ...]
) -> None:
    status = {"podIPs": [{"ip": ip} for ip in told]}
    found = check("Pod", {"metadata": {"annotations": annotations}, "spec": {}, "status": status})
    assert [row.addresses for row in found.rows or () if isinstance(row, Workload)] == [addresses]
