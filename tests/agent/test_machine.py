"""A machine's settings, from the files that `workload entry configure` writes."""

from pathlib import Path
from typing import Any

import pytest

from isthmus.agent.machine import Machine, Place, parse_environment, parse_hosts, read_machine
from isthmus.agent.settings import Address
from isthmus.base.errors import UsageError
from isthmus.base.probe import HttpGet
from isthmus.install.capture_rules import Capture
from isthmus.install.machine import MachineValues, files

GROUP: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "db", "namespace": "shop"},
    "spec": {
        "metadata": {"labels": {"app": "db", "tier": "x"}},
        "template": {"serviceAccount": "db-sa", "network": "net-vm", "labels": {"tier": "y"}},
        "probe": {"httpGet": {"port": 8080, "path": "/readyz"}, "periodSeconds": 2},
    },
}
DIRECTORY = Path("/vm")


def machine(written: dict[str, str], *, env: dict[str, str] | None = None, captures: bool = True) -> Machine:
    place = Place(
        directory=DIRECTORY, state_dir=Path("/state"), host_name="vm1.corp", address="10.9.0.5", captures=captures
    )
    return read_machine(place, read=lambda path: written.get(path.name), env=env)


def made(**values: Any) -> dict[str, str]:
    return files(MachineValues(cluster="east", group=GROUP, **values), roots="ROOT", token="TOKEN")


def test_what_is_written_is_read() -> None:
    found = machine(made(addresses=("198.18.0.5", "198.18.0.6"), mesh_id="m", trust_domain="td", domain="corp.local"))
    settings = found.settings
    assert settings.node_id == "sidecar~10.9.0.5~vm1.shop~shop.svc.corp.local"
    assert (settings.service_account, settings.cluster, settings.trust_domain) == ("db-sa", "east", "td")
    assert settings.control_planes == (Address("istiod.istio-system.svc", 15012),)
    assert settings.hosts == {"istiod.istio-system.svc": ("198.18.0.5", "198.18.0.6")}
    assert (settings.token_file, settings.root_file) == (DIRECTORY / "istio-token", DIRECTORY / "root-cert.pem")
    assert (settings.state_dir, settings.identity_dir) == (Path("/state"), Path("/state/identity"))
    assert settings.dns_capture
    assert settings.probe is not None
    assert (settings.probe.action, settings.probe.period) == (HttpGet(8080, "/readyz"), 2.0)
    assert settings.metadata["AUTO_REGISTER_GROUP"] == "db"
    assert settings.metadata["NETWORK"] == "net-vm"
    assert settings.metadata["LABELS"] == {"app": "db", "tier": "x", "topology.istio.io/network": "net-vm"}


def test_capture_leaves_the_control_plane_and_the_administrator_alone() -> None:
    found = machine(made()).capture
    assert found == Capture(exclude_inbound=Capture().exclude_inbound | {22, 15090, 15021, 15020})
    assert 15012 in Capture().exclude_outbound
    narrow = machine(made(capture="8080,9090", capture_dns=False)).capture
    assert narrow is not None
    assert narrow.include_inbound == frozenset((8080, 9090))
    assert narrow.dns_port is None
    assert machine(made(), captures=False).capture is None


def test_the_environment_wins_over_the_files() -> None:
    settings = machine(made(), env={"PILOT_ADDRESS": "10.0.0.1:15012", "SECRET_TTL": "60"}).settings
    assert (settings.control_planes, settings.secret_ttl) == ((Address("10.0.0.1", 15012),), 60.0)


@pytest.mark.parametrize("missing", ["cluster.env", "mesh.yaml"])
def test_a_missing_file_is_named(missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        machine({name: text for name, text in made().items() if name != missing})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster.env": "what"}, "line 1 of cluster.env"),
        ({"mesh.yaml": "a: ["}, "not YAML"),
        ({"mesh.yaml": "{}"}, "no defaultConfig"),
        ({"mesh.yaml": "defaultConfig: {discoveryAddress: a:1, readinessProbe: {grpc: {}}}"}, "has none of"),
        ({"cluster.env": "POD_NAMESPACE='a'\nISTIO_INBOUND_PORTS='x'"}, "ISTIO_INBOUND_PORTS"),
        ({"cluster.env": "POD_NAMESPACE='a'\nISTIO_SVC_IP='x'"}, "no address of this machine"),
    ],
)
def test_what_is_wrong_with_a_file(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        machine(made() | changes)


def test_environment_files() -> None:
    text = "# note\n\nA='x y'\nB=plain\nexport C=\"q\"\nD=''\nE=a=b\n"
    assert parse_environment(text) == {"A": "x y", "B": "plain", "C": "q", "D": "", "E": "a=b"}


def test_hosts_files() -> None:
    text = "10.0.0.1 a b # note\n\n# 1.1.1.1 c\n10.0.0.2 a\n"
    assert parse_hosts(text) == {"a": ("10.0.0.1", "10.0.0.2"), "b": ("10.0.0.1",)}


def test_a_group_that_an_environment_file_cannot_hold() -> None:
    group = GROUP | {"spec": {"template": {"labels": {"a": "it's"}}}}
    with pytest.raises(UsageError, match="cannot hold"):
        files(MachineValues(cluster="east", group=group), roots="", token="")


@pytest.mark.parametrize("document", [None, {}, {"kind": "Pod"}, {"kind": "WorkloadGroup", "metadata": {}, "spec": {}}])
def test_what_is_no_group(document: object) -> None:
    with pytest.raises(UsageError):
        files(MachineValues(cluster="east", group=document), roots="", token="")  # type: ignore[arg-type]
