"""ServiceEntries and WorkloadEntries."""

from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry, WorkloadEntry
from isthmus.model.rows import Locality, Protocol, ServicePort, labels
from tests.ingest.check import check, complaints

HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}
ONE = {"address": "1.2.3.4"}
GOOD = {"hosts": ["api.example.com"], "ports": [HTTP], "resolution": "DNS"}


def entry(spec: dict[str, Any], **more: Any) -> ServiceEntry:
    """The row of a ServiceEntry without problems."""
    found = check("ServiceEntry", {"spec": spec, **more})
    assert found.problems == ()
    assert found.rows is not None
    (row,) = found.rows
    assert isinstance(row, ServiceEntry)
    return row


def test_everything_that_has_effect() -> None:
    spec = {
        "hosts": ["Legacy.Example.com", "*.legacy.example.com"],
        "addresses": ["10.1.2.3", "10.2.0.0/16"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            HTTP | {"targetPort": 8080},
            {"number": 443, "name": "https", "protocol": "HTTPS"},
            {"number": 9000, "name": "tcp", "protocol": "TCP"},
            {"number": 50051, "name": "rpc", "protocol": "GRPC"},
        ],
        "endpoints": [
            {
                "address": "192.0.2.7",
                "ports": {"http": 18080},
                "labels": {"version": "v1"},
                "network": "net-vm",
                "locality": "europe/a/rack1",
                "weight": 7,
                "serviceAccount": "legacy",
            }
        ],
        "exportTo": ["."],
        "subjectAltNames": ["spiffe://cluster.local/ns/a/sa/legacy"],
    }
    assert entry(spec) == ServiceEntry(
        cluster="east",
        namespace="a",
        name="x",
        hosts=("legacy.example.com", "*.legacy.example.com"),
        addresses=("10.1.2.3", "10.2.0.0/16"),
        ports=(
            ServicePort("http", 80, Protocol.HTTP, "8080"),
            ServicePort("https", 443, Protocol.TLS),
            ServicePort("tcp", 9000, Protocol.TCP),
            ServicePort("rpc", 50051, Protocol.GRPC),
        ),
        internal=True,
        resolution=Resolution.STATIC,
        endpoints=(
            EntryAddress(
                address="192.0.2.7",
                ports=(("http", 18080),),
                labels=labels({"version": "v1"}),
                network="net-vm",
                locality=Locality("europe", "a", "rack1"),
                weight=7,
                service_account="legacy",
            ),
        ),
        export_to=(".",),
        subject_alt_names=("spiffe://cluster.local/ns/a/sa/legacy",),
    )


def test_names_and_ranges_that_take_nothing_from_anybody() -> None:
    spec = GOOD | {"hosts": ["x.a.mesh.internal"], "addresses": ["0.0.0.0/0", "fd00::/8"]}
    assert entry(spec).hosts == ("x.a.mesh.internal",)


def test_defaults_are_istios() -> None:
    row = entry({"hosts": ["a.example.com"], "ports": [HTTP]})
    assert (row.internal, row.resolution, row.allocates, row.selector) == (False, Resolution.NONE, True, ())


def test_addresses_of_its_own_are_in_the_status() -> None:
    label = {"labels": {"networking.istio.io/enable-autoallocate-ip": "false"}}
    status = {"addresses": [{"value": "240.240.0.9", "host": "api.example.com"}, {"value": 3}, None]}
    assert entry(GOOD, status=status).allocated == (("api.example.com", "240.240.0.9"),)
    assert not entry(GOOD, metadata=label).allocates


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"ports": [HTTP]}, ["spec.hosts"]),
        ({"hosts": ["*"], "ports": [HTTP]}, ["spec.hosts[0]"]),
        ({"hosts": ["a b"], "ports": [HTTP]}, ["spec.hosts[0]"]),
        (GOOD | {"addresses": ["10.0.0.300"]}, ["spec.addresses[0]"]),
        (GOOD | {"addresses": ["10.0.0.0/40"]}, ["spec.addresses[0]"]),
        (GOOD | {"addresses": ["243.1.2.3"]}, ["spec.addresses[0]"]),
        (GOOD | {"addresses": ["10.0.0.0/8", "243.1.2.0/24"]}, ["spec.addresses[1]"]),
        (GOOD | {"hosts": ["web.shop.mesh.internal"]}, ["spec.hosts[0]"]),
        (GOOD | {"hosts": ["web.a.mesh.internal", "Web.A2.Mesh.Internal"]}, ["spec.hosts[1]"]),
        (GOOD | {"hosts": ["*.mesh.internal"], "resolution": "NONE"}, ["spec.hosts[0]"]),
        (GOOD | {"ports": [HTTP, HTTP | {"name": "b"}]}, ["spec.ports[1].number"]),
        (GOOD | {"ports": [HTTP, HTTP | {"number": 81}]}, ["spec.ports[1].name"]),
        (GOOD | {"ports": [{"name": "http"}]}, ["spec.ports[0].number"]),
        (GOOD | {"resolution": "MAGIC"}, ["spec.resolution"]),
        (GOOD | {"location": "NEARBY"}, ["spec.location"]),
        (GOOD | {"resolution": "STATIC", "endpoints": [{"address": "vm.example.com"}]}, ["spec.endpoints[0].address"]),
        (GOOD | {"endpoints": [{"address": "a b"}]}, ["spec.endpoints[0].address"]),
        (GOOD | {"endpoints": [{}]}, ["spec.endpoints[0].address"]),
        (GOOD | {"endpoints": [{"address": "1.2.3.4", "ports": {"http": 0}}]}, ["spec.endpoints[0].ports.http"]),
        (GOOD | {"endpoints": [ONE], "workloadSelector": {"labels": {"a": "b"}}}, ["spec.endpoints"]),
        (GOOD | {"resolution": "NONE", "endpoints": [{"address": "1.2.3.4"}]}, ["spec.endpoints"]),
        (GOOD | {"hosts": ["*.example.com"]}, ["spec.hosts[0]"]),
        (
            GOOD | {"resolution": "DNS_ROUND_ROBIN", "endpoints": [{"address": "1.1.1.1"}, {"address": "1.1.1.2"}]},
            ["spec.endpoints"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_takes_the_object_out_of_effect(spec: dict[str, Any], fields: list[str]) -> None:
    found = check("ServiceEntry", {"spec": spec})
    assert found.rows is None
    assert [field for field, _ in complaints(found)] == fields


def test_unix_sockets_are_set_aside() -> None:
    found = check(
        "ServiceEntry", {"spec": GOOD | {"endpoints": [{"address": "unix:///run/x"}, {"address": "1.1.1.1"}]}}
    )
    assert [problem.severity for problem in found.problems] == [Severity.WARNING]
    assert found.rows is not None
    (row,) = found.rows
    assert isinstance(row, ServiceEntry)
    assert [endpoint.address for endpoint in row.endpoints] == ["1.1.1.1"]


def machine(spec: dict[str, Any], **more: Any) -> WorkloadEntry:
    """The row of a WorkloadEntry without problems."""
    found = check("WorkloadEntry", {"spec": spec, **more})
    assert found.problems == ()
    assert found.rows is not None
    (row,) = found.rows
    assert isinstance(row, WorkloadEntry)
    return row


def test_labels_of_a_machine_are_those_of_object_and_spec() -> None:
    spec = {"address": "192.0.2.7", "labels": {"app": "db", "v": "2"}, "serviceAccount": "db", "ports": {"tcp": 5432}}
    row = machine(spec, metadata={"labels": {"v": "1", "site": "x"}})
    assert row.labels == labels({"app": "db", "v": "2", "site": "x"})
    assert (row.endpoint.port("tcp"), row.endpoint.port("http"), row.endpoint.service_account) == (5432, 0, "db")


@pytest.mark.parametrize(
    ("checked", "conditions", "healthy"),
    [
        ({}, [], True),
        ({}, [{"type": "Healthy", "status": "False"}], True),
        ({"proxy.istio.io/health-checks-enabled": "true"}, [], False),
        ({"proxy.istio.io/health-checks-enabled": "true"}, [{"type": "Healthy", "status": "False"}], False),
        ({"proxy.istio.io/health-checks-enabled": "true"}, [{"type": "Healthy", "status": "True"}], True),
        ({"proxy.istio.io/health-checks-enabled": "true"}, [{"type": "Other", "status": "True"}], False),
    ],
)
def test_a_machine_with_health_checks_is_healthy_when_it_says_so(
    checked: dict[str, str], conditions: list[dict[str, str]], healthy: bool
) -> None:
    row = machine({"address": "192.0.2.7"}, metadata={"annotations": checked}, status={"conditions": conditions})
    assert row.healthy is healthy


@pytest.mark.parametrize("spec", [None, {}, {"address": ""}, {"address": "a b"}, {"address": "1.1.1.1", "weight": -1}])
def test_a_machine_without_address_is_refused(spec: dict[str, Any] | None) -> None:
    found = check("WorkloadEntry", {"spec": spec})
    assert found.rows is None
