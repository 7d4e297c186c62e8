"""`isthmus ztunnel-config`: istioctl's columns out of a ztunnel's dump, and out of what the control plane says."""

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.app.debug import _decoded
from isthmus.base.errors import IsthmusError
from isthmus.cli import main as cli
from isthmus.cli.reach import Answer
from isthmus.cli.ztunnel_config import connected
from isthmus.cli.ztunnel_dump import (
    certificate_rows,
    from_control_plane,
    policy_rows,
    service_rows,
    workload_rows,
)
from isthmus.model.rows import labels
from isthmus.xds.resource import ADDRESS, AUTHORIZATION
from tests.graph.test_ztunnels import captured, follow, one_network, rules
from tests.graph.world import helloworld

DUMP: dict[str, Any] = {
    "workloads": [
        {
            "uid": "east//Pod/a/web", "workloadIps": ["10.0.0.1"], "protocol": "HBONE", "name": "web",
            "namespace": "a", "node": "n1", "status": "Healthy", "waypoint": {"destination": "a/way.a.svc"},
        },
        {
            "uid": "east//Pod/a/old", "workloadIps": [], "hostname": "db.example", "protocol": "TCP", "name": "old",
            "namespace": "a", "node": "n2", "status": "Unhealthy",
        },
    ],
    "services": [
        {
            "name": "web", "namespace": "a", "hostname": "web.a.svc", "vips": ["n/10.96.0.1", "n/fd00::1"],
            "endpoints": {"1": {"workloadUid": "east//Pod/a/web"}, "2": {"workloadUid": "east//Pod/a/old"}},
            "waypoint": {"destination": "n/10.96.0.2"},
        },
        {"name": "way", "namespace": "a", "hostname": "way.a.svc", "vips": ["n/10.96.0.2"], "endpoints": {}},
    ],
    "policies": [{"name": "p", "namespace": "a", "action": "Deny", "scope": "WorkloadSelector", "rules": []}],
    "certificates": [
        {
            "identity": "spiffe://td/ns/a/sa/web", "state": "Available",
            "certChain": [
                {"serialNumber": "255", "validFrom": "2026-01-01T00:00:00Z", "expirationTime": "2026-01-02T00:00:00Z"},
                {"serialNumber": "16", "validFrom": "2020-01-01T00:00:00Z", "expirationTime": "2030-01-01T00:00:00Z"},
            ],
            "rootCerts": [
                {"serialNumber": "1", "validFrom": "2020-01-01T00:00:00Z", "expirationTime": "2030-01-01T00:00:00Z"}
            ],
        },
        {"identity": "spiffe://td/ns/a/sa/no", "state": "Unavailable: refused", "certChain": []},
    ],
}  # fmt: skip


def test_a_ztunnels_own_dump() -> None:
    assert list(service_rows(DUMP)) == [
        ("a", "way", "10.96.0.2", "None", "0/0"),
        ("a", "web", "10.96.0.1,fd00::1", "way", "1/2"),
    ]
    assert list(workload_rows(DUMP)) == [
        ("a", "old", "db.example", "n2", "None", "TCP"),
        ("a", "web", "10.0.0.1", "n1", "way", "HBONE"),
    ]
    assert [row[1] for row in workload_rows(DUMP, node="n1")] == ["web"]
    assert [row[1] for row in workload_rows(DUMP, address="10.0.0.1")] == ["web"]
    assert list(workload_rows(DUMP, namespace="b")) == []
    assert list(policy_rows(DUMP)) == [("a", "p", "Deny", "WorkloadSelector")]


def test_certificates_say_whether_they_are_valid_now() -> None:
    rows = list(certificate_rows(DUMP, 1_767_268_800.0))
    assert [(row[1], row[3], row[4]) for row in rows] == [
        ("Leaf", "true", "ff"), ("Intermediate", "true", "10"), ("Root", "true", "1"), ("NA", "false", "NA"),
    ]  # fmt: skip
    assert [row[3] for row in certificate_rows(DUMP, 1_800_000_000.0)] == ["false", "true", "true", "false"]
    assert rows[-1][2] == "Unavailable"


def test_what_the_control_plane_says_has_the_same_form() -> None:
    world = one_network(*captured(helloworld("east", "10.0.0.11")), rules(labels({"app": "helloworld"})))
    me = follow(world)
    page = {
        "WDS": [_decoded(one) for one in world.resources(me, ADDRESS).values()],
        "WADS": [_decoded(one) for one in world.resources(me, AUTHORIZATION).values()],
    }
    dump = from_control_plane(page)
    assert ("sample", "helloworld", "10.96.0.1", "None", "2/2") in list(service_rows(dump))
    assert list(workload_rows(dump, node="east-node", address="10.0.0.11")) == [
        ("sample", "helloworld-east-0", "10.0.0.11", "east-node", "None", "HBONE")
    ]
    assert list(policy_rows(dump, namespace="sample")) == [("sample", "p", "Deny", "WorkloadSelector")]


def test_any_ztunnel_will_do_that_is_connected() -> None:
    def proxy(name: str, *types: str) -> dict[str, Any]:
        return {"proxy": name, "types": [{"type": one} for one in types]}

    page = {"proxies": [proxy("sleep.a", "CDS"), proxy("ztunnel-x.istio-system", "WADS", "WDS")]}
    assert connected([Answer("istiod-1", body=page)]) == "ztunnel-x.istio-system"
    with pytest.raises(IsthmusError, match="no ztunnel is connected"):
        connected([Answer("istiod-1", body={"proxies": [proxy("sleep.a", "CDS")]})])


def test_a_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(DUMP))
    with pytest.raises(SystemExit) as done:
        cli.main(["zc", "workload", "-f", str(file)])
    assert done.value.code == 0
    assert capsys.readouterr().out.splitlines()[0].split("  ")[0] == "NAMESPACE"
    with pytest.raises(SystemExit):
        cli.main(["ztunnel-config", "policy", "-f", str(file), "-o", "json"])
    assert json.loads(capsys.readouterr().out)[0]["name"] == "p"
