"""Checks: what was read of clusters, and what is found in it."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from isthmus.checks import ambient, before, links, networks, reach, sameness, trust
from isthmus.checks.every import installed, precheck
from isthmus.checks.finding import Finding, Level
from isthmus.checks.snapshot import ControlPlane, Probe, Snapshot
from isthmus.trust.authority import from_secret, secret_data
from isthmus.trust.constraints import described
from isthmus.trust.issue import make_intermediate, make_root
from isthmus.trust.pem import new_key

NOW = 1_800_000_000.0
DAY = 86_400.0
NETWORK = "topology.istio.io/network"


def obj(name: str, namespace: str = "", *, labels: dict[str, str] | None = None, **parts: Any) -> dict[str, Any]:
    """An object as the API has it."""
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **parts}


def known(name: str, *, config: bool = False, **fields: Any) -> dict[str, Any]:
    """A cluster in the page clusterz."""
    base = {"id": name, "status": "synced", "stale": False, "last_contact": NOW - 1, "last_error": "", "config": config}
    return base | fields


def plane(*clusters: dict[str, Any], version: str = "1.0", pod: str = "istiod-1", **pages: Any) -> ControlPlane:
    """A control plane that reads these clusters."""
    return ControlPlane(pod=pod, version=version, pages={"clusterz": {"clusters": list(clusters)}, **pages})


def cluster(name: str, network: str = "", *planes: ControlPlane, **fields: Any) -> Snapshot:
    """A cluster with a system namespace."""
    objects: dict[str, Any] = {"namespaces": [obj("istio-system", labels={NETWORK: network} if network else {})]}
    given: dict[str, Any] = {
        "context": name,
        "server": f"https://{name}",
        "version": "v1.32.0",
        "skew": 0.0,
        "planes": planes,
    }
    return Snapshot(**(given | fields | {"objects": objects | dict(fields.pop("objects", {}))}))


def wrong(findings: Any) -> list[tuple[str, tuple[str, ...], str]]:
    """Level, clusters and message of what is not good; effect and remedy are never missing."""
    found: list[Finding] = [one for one in findings if one.level is not Level.GOOD]
    assert all(one.remedy for one in found)
    return [(str(one.level), one.clusters, one.message) for one in found]


def gateway(*addresses: str, port: int = 15443) -> dict[str, Any]:
    """An east-west gateway's Service."""
    status = {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}
    return obj("gw", "istio-system", labels={NETWORK: "n"}, spec={"ports": [{"port": port}]}, status=status)


@pytest.mark.parametrize(
    ("skews", "expected"),
    [
        ((0.0, 3.0), []),
        ((0.0, None), []),
        ((-4.0, 4.0), [("warning", ("a", "b"), "the clock of b is 8 s ahead of that of a")]),
        ((100.0, 0.0), [("error", ("b", "a"), "the clock of a is 100 s ahead of that of b")]),
    ],
)
def test_clocks(skews: tuple[float, float | None], expected: list[Any]) -> None:
    snapshots = [cluster(name, skew=skew) for name, skew in zip("ab", skews, strict=True)]
    assert wrong(reach.clocks(snapshots)) == expected


def test_a_cluster_that_cannot_be_read() -> None:
    silent = cluster("a", errors=("https://a: connection refused",))
    assert wrong(reach.access([silent])) == [("error", ("a",), "https://a: connection refused")]


def test_versions() -> None:
    proxies = {"proxies": [{"proxy": "x.a", "version": "0.9"}, {"proxy": "y.a", "version": "1.0"}]}
    old = cluster("a", "", plane(known("a", config=True), syncz=proxies), version="v1.27.3")
    new = cluster("b", "", plane(known("b", config=True), version="1.1"))
    assert wrong(reach.versions([old, new])) == [
        ("error", ("a",), "Kubernetes v1.27.3 is older than 1.28"),
        ("warning", ("a", "b"), "control planes of different versions: 1.0 in a; 1.1 in b"),
        ("warning", ("a",), "1 of 2 proxies are of another version than istiod-1 (1.0): x.a"),
    ]


def authority(domain: str, *permitted: str, days: float = 300) -> dict[str, Any]:
    """The page trust."""
    certificate = {
        "fingerprint": f"f-{domain}",
        "subject": f"CN={domain}",
        "notAfter": datetime.fromtimestamp(NOW + days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "trustDomains": list(permitted) or None,
    }
    return {"trustDomain": domain, "chain": [certificate]}


def test_the_page_is_read_as_control_planes_write_it() -> None:
    root = make_root(new_key(), now=NOW, serial=1)
    pair = make_intermediate(root, new_key(), now=NOW, serial=2, cluster="a", trust_domains=("x", "z"))
    signer = from_secret(secret_data(pair, b"", root.certificate), now=NOW)
    page = described(signer, {"a": "x", "b": "y"}, own="a")
    (read,) = trust.authorities_of(cluster("a", "", plane(trust=page)))
    assert (read["trust_domain"], read["permitted_domains"]) == ("x", ("x", "z"))
    assert read["not_after"] == signer.not_after
    other = cluster("b", "", plane(trust=authority("y", "y")))
    found = list(trust.trust([cluster("a", "", plane(trust=page)), other], NOW))
    assert "the intermediate may sign identities of x, z only" in [one.message for one in found]


def test_roots_that_differ() -> None:
    assert wrong(trust.trust([cluster("a", roots=("r1", "r2")), cluster("b", roots=("r2",))], NOW)) == []
    apart = wrong(trust.trust([cluster("a", roots=("r1",)), cluster("b", roots=("r2",))], NOW))
    assert apart == [("error", ("a", "b"), "the clusters have no root in common: a trusts r1; b trusts r2")]


def linked(name: str, root: str, **peers: list[str]) -> Snapshot:
    """A cluster with a root, and with links: the roots of each peer."""
    told = [{"peer": peer, "rootFingerprints": roots} for peer, roots in peers.items()]
    own = {"id": name, "config": True}
    return cluster(name, "", plane(own, peers={"peers": told}), roots=(root,))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (linked("a", "r1", b=["r2"]), linked("b", "r2", a=["r1"]), []),
        (linked("a", "r1", b=["r2", "r3"]), linked("b", "r3", a=["r1"]), []),
        (
            linked("a", "r1", b=["r2"]),
            linked("b", "r3", a=["r1"]),
            [("error", ("a", "b"), "a does not believe the roots of b, though it is linked to it")],
        ),
        (
            linked("a", "r1", b=["r2"]),
            linked("b", "r2"),
            [("error", ("b", "a"), "b does not believe the roots of a, and is not linked to it")],
        ),
        (linked("a", "r1", b=[]), linked("b", "r1", a=[]), []),
    ],
    ids=["both ways", "two roots while one is replaced", "replaced unheard", "one way", "of one mesh"],
)
def test_links_are_believed_by_the_peers_own_roots(a: Snapshot, b: Snapshot, expected: list[Any]) -> None:
    assert wrong(trust.trust([a, b], NOW)) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (authority("x", "x"), []),
        (authority("x", "w", "x"), []),
        (authority("x"), ["the intermediate of trust domain x is not constrained to it"]),
        (authority("x", "z"), ["the intermediate of trust domain x is constrained to z"]),
        (authority("x", "x", days=10), ["CN=x expires in 10 days"]),
        (authority("x", "x", days=-1), ["CN=x has expired"]),
    ],
)
def test_authorities(page: dict[str, Any], expected: list[str]) -> None:
    other = cluster("b", "", plane(trust=authority("y", "y")))
    found = wrong(trust.trust([cluster("a", "", plane(trust=page)), other], NOW))
    assert [message for _, _, message in found] == expected


def test_one_trust_domain_needs_no_constraint() -> None:
    snapshots = [cluster(name, "", plane(trust=authority("x"))) for name in "ab"]
    assert wrong(trust.trust(snapshots, NOW)) == []


def secret(name: str, server: str, token: str) -> dict[str, Any]:
    """A remote secret."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    data = {name: base64.b64encode(json.dumps(config).encode()).decode()}
    return obj(f"istio-remote-secret-{name}", "istio-system", data=data)


def jwt(ends: float) -> str:
    """A token that says when it ends."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends}).encode()).decode().rstrip("=")
    return f"e30.{claims}.sig"


@pytest.mark.parametrize(
    ("server", "token", "expected"),
    [
        ("https://10.0.0.1:6443", "opaque", []),
        ("https://10.0.0.1:6443", jwt(NOW + 30 * DAY), []),
        ("https://10.0.0.1:6443", jwt(NOW + DAY), ["secret istio-remote-secret-b, key b: the token expires in 24 h"]),
        ("https://10.0.0.1:6443", jwt(NOW - 1), ["secret istio-remote-secret-b, key b: the token has expired"]),
        (
            "https://127.0.0.1:6443",
            "opaque",
            ["secret istio-remote-secret-b, key b: https://127.0.0.1:6443 is an address of the machine that made it"],
        ),
    ],
)
def test_contents_of_remote_secrets(server: str, token: str, expected: list[str]) -> None:
    one = cluster("a", objects={"secrets": [secret("b", server, token)]})
    assert [message for _, _, message in wrong(links.secrets([one], NOW))] == expected


def test_a_broken_remote_secret() -> None:
    broken = obj("s", "istio-system", data={"b": base64.b64encode(b"nonsense").decode()})
    (found,) = wrong(links.secrets([cluster("a", objects={"secrets": [broken]})], NOW))
    assert found[0] == "error"
    assert found[2].startswith("secret s, key b: ")


def test_links() -> None:
    a = cluster("a", "", plane(known("a", config=True), known("b", status="error", last_error="refused")))
    b = cluster("b", "", plane(known("b", config=True), errors=()))
    assert wrong(links.secrets([a, b], NOW)) == [
        ("error", ("a", "b"), "istiod-1 reads b no more: error, refused"),
        ("warning", ("a", "b"), "a reads b, but b does not read a"),
    ]
    silent = cluster("a", "", plane(known("a", config=True), known("b", last_contact=NOW - 500)))
    assert wrong(links.secrets([silent], NOW)) == [
        ("error", ("a", "b"), "istiod-1 reads b no more: synced, silent for 500 s")
    ]


def test_replicas_that_do_not_agree() -> None:
    one, two = plane(known("a", config=True), known("b")), plane(known("a", config=True), pod="istiod-2")
    found = wrong(links.secrets([cluster("a", "", one, two)], NOW))
    assert found == [("error", ("a",), "replicas do not agree: istiod-1 reads a, b; istiod-2 reads a")]


def test_networks() -> None:
    assert wrong(networks.networks([cluster("a", "n"), cluster("b", "m")])) == []
    assert wrong(networks.networks([cluster("a"), cluster("b")])) == []
    (found,) = wrong(networks.networks([cluster("a", "n"), cluster("b")]))
    assert found[:2] == ("error", ("b",))


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([gateway("198.51.100.1")], []),
        ([], ["network n has no east-west gateway"]),
        ([gateway()], ["istio-system/gw has no address"]),
        ([gateway("198.51.100.1", port=80)], ["istio-system/gw has neither port 15443 nor 15008"]),
    ],
)
def test_gateways(services: list[Any], expected: list[str]) -> None:
    other = cluster("b", "m", objects={"services": [gateway("198.51.100.2")]})
    found = wrong(networks.gateways([cluster("a", "n", objects={"services": services}), other]))
    assert [message for _, _, message in found] == expected
    alone = wrong(networks.gateways([cluster("a", "n", objects={"services": services})]))
    assert alone == [], "one network needs no entrance"


def test_a_gateway_that_does_not_answer() -> None:
    probes = (
        Probe(source="istiod-1", cluster="b", address="198.51.100.2:15443", error="no answer in time"),
        Probe(source="istiod-1", cluster="c", address="198.51.100.3:15443", milliseconds=2.0),
    )
    assert wrong(networks.gateways([cluster("a", "n", probes=probes)])) == [
        ("error", ("a", "b"), "198.51.100.2:15443 of b does not answer control plane istiod-1: no answer in time")
    ]


def test_addresses_that_mean_two_things() -> None:
    pods = {"pods": [obj("p", "x", spec={}, status={"podIP": "10.0.0.5"})]}
    nodes = {"nodes": [obj("n", spec={"podCIDR": "10.0.0.0/24"})]}
    one, two = cluster("a", "n", objects=pods), cluster("b", "n", objects=pods)
    assert [found[2] for found in wrong(networks.addresses([one, two]))] == [
        "a and b are on network n, and pods of both have the addresses 10.0.0.5"
    ]
    assert wrong(networks.addresses([one, cluster("b", "m", objects=pods)])) == []
    ranges = [cluster(name, "n", objects=nodes) for name in "ab"]
    (found,) = wrong(networks.addresses(ranges))
    assert "pod ranges overlap" in found[2]


def service(name: str, *ports: tuple[int, str], **spec: Any) -> dict[str, Any]:
    """A Service in namespace x."""
    listed = [{"port": number, "name": port, "protocol": "TCP"} for number, port in ports]
    return obj(name, "x", spec={"ports": listed, **spec})


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (service("s", (80, "http")), service("s", (80, "http")), []),
        (service("s", (80, "http")), service("t", (80, "tcp")), []),
        (
            service("s", (80, "http")),
            service("s", (80, "tcp")),
            ["x/s: port 80 is http/TCP in a and tcp/TCP in b"],
        ),
        (service("s", (80, "http")), service("s"), ["x/s: port 80 is missing in b"]),
        (service("s"), service("s", (80, "http")), ["x/s: port 80 is missing in a"]),
        (service("s", clusterIP="None"), service("s"), ["x/s: it is headless in one of a and b only"]),
    ],
)
def test_services(left: dict[str, Any], right: dict[str, Any], expected: list[str]) -> None:
    snapshots = [cluster("a", objects={"services": [left]}), cluster("b", objects={"services": [right]})]
    assert [message for _, _, message in wrong(sameness.services(snapshots))] == expected


def running(name: str, node: str, *, mark: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Any:
    """A pod that runs in namespace x, or in the system namespace if it has labels."""
    made = obj(name, namespace="istio-system" if labels else "x", labels=labels or {})
    made["metadata"]["annotations"] = {"ambient.istio.io/redirection": mark} if mark else {}
    return {**made, "spec": {"nodeName": node, "containers": [{"name": "app"}], **spec}, "status": {"phase": "Running"}}


NODE_PROXY = running("isthmus-node-1", "n1", labels={"app": "isthmus-node"})


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([NODE_PROXY, running("a", "n1", mark="enabled")], []),
        (
            [NODE_PROXY, running("a", "n1", mark="pending")],
            [("warning", "1 of 1 pods that are to be ambient are not captured: x/a")],
        ),
        (
            [NODE_PROXY, running("a", "n2", mark="enabled")],
            [("error", "no proxy runs for the ambient pods of n2: x/a")],
        ),
        ([running("a", "n1", hostNetwork=True)], []),
        ([running("a", "n1", initContainers=[{"name": "istio-proxy"}])], []),
    ],
    ids=["captured", "on its way", "no proxy there", "of the node's network", "with a sidecar"],
)
def test_ambient_pods_are_captured(pods: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    spaces = [obj("x", labels={"istio.io/dataplane-mode": "ambient"})]
    found = ambient.captured([cluster("a", objects={"namespaces": spaces, "pods": pods})])
    assert [(level, message) for level, _, message in wrong(found)] == expected
    plain = cluster("a", objects={"namespaces": [obj("x")], "pods": pods})
    assert list(ambient.captured([plain])) == []


def test_a_namespace_may_be_in_the_mesh_by_different_data_planes() -> None:
    both = ({"istio-injection": "enabled"}, {"istio.io/dataplane-mode": "ambient"})
    spaces = [[obj("x", labels=labels)] for labels in both]
    found = sameness.namespaces([cluster(n, objects={"namespaces": s}) for n, s in zip("ab", spaces, strict=True)])
    assert wrong(found) == []


def test_namespaces() -> None:
    spaces = [[obj("x", labels={"istio-injection": value})] for value in ("enabled", "disabled")]
    found = wrong(
        sameness.namespaces([cluster(n, objects={"namespaces": s}) for n, s in zip("ab", spaces, strict=True)])
    )
    assert [message for _, _, message in found] == [
        "namespace x is istio-injection=enabled in a and not in the mesh in b"
    ]


def test_primaries_that_drift_apart() -> None:
    strict, permissive = ({"mtls": {"mode": mode}} for mode in ("STRICT", "PERMISSIVE"))
    a = cluster("a", "", plane(), objects={"peerauthentications": [obj("d", "x", spec=strict), obj("e", "x", spec={})]})
    b = cluster("b", "", plane(), objects={"peerauthentications": [obj("d", "x", spec=permissive)]})
    assert [message for _, _, message in wrong(sameness.configuration([a, b]))] == [
        "peerauthentications x/d differs between a and b",
        "peerauthentications x/e is in a only",
    ]
    remote = cluster("b", objects={"peerauthentications": []})
    assert wrong(sameness.configuration([a, remote])) == [], "a cluster without control plane is not read"


def test_problems_are_shown_once() -> None:
    where = {"cluster": "a", "kind": "Gateway", "namespace": "x", "name": "g"}
    page = [{"where": where, "field": "spec", "message": "is bad", "remedy": "Mend it", "severity": "error"}]
    both = [cluster(name, "", plane(problems=page)) for name in "ab"]
    assert wrong(sameness.problems(both)) == [("error", ("a",), "Gateway x/g, spec: is bad")]


def test_before_an_installation() -> None:
    foreign = obj("istiod", "istio-system")
    ours = obj("istiod", "istio-system", labels={before.OWNER: "isthmus"})
    denied = cluster("a", denied=("clusterroles",), objects={"deployments": [foreign]})
    assert [message for _, _, message in wrong(precheck([denied]))] == [
        "you may not create clusterroles",
        "another mesh is installed: istiod",
    ]
    assert wrong(precheck([cluster("a", objects={"deployments": [ours]})])) == []


def test_a_good_mesh_has_only_good_findings() -> None:
    snapshots = [
        cluster(
            name,
            network,
            plane(known(name, config=True), known(other), trust=authority("cluster.local")),
            roots=("r",),
            objects={"services": [gateway(address)], "namespaces": [obj("istio-system", labels={NETWORK: network})]},
        )
        for name, other, network, address in (("a", "b", "n", "198.51.100.1"), ("b", "a", "m", "198.51.100.2"))
    ]
    found = list(installed(snapshots, NOW))
    assert wrong(found) == []
    assert {one.category for one in found} >= {"access", "clocks", "trust", "secrets", "networks", "gateways"}
