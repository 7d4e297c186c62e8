"""The example `ambient`, linked: who may call whom by cluster, and what somebody meets who has stolen an authority."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.trust.authority import Authority, from_pem, from_secret, secret_data, workload_names
from isthmus.trust.issue import DAY, PemPair, Validity, make_intermediate, make_root, serial_from
from isthmus.trust.pem import key_to_pem, new_key
from tests.lab.ambient import CLUSTERS, EVERY, GATEWAYS, GLOBAL, HELLO, SLEEP, identity, pods
from tests.lab.harness import Lab, eventually
from tests.lab.served import roots
from tests.lab.test_tenancy import authority_of

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
BATCH, OUTSIDER = "app/batch", "plain/sleep-plain"
ELSEWHERE = f"{GLOBAL.removesuffix('/hello')}/elsewhere"
HOST = "hello-world.app.mesh.internal:5000"
TUNNELLER, INTRUDER = (str(Path(__file__).parent / name) for name in ("tunneller.py", "intruder.py"))
LET_IN, NO_HANDSHAKE = "answered", "no handshake"

WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: app}
spec:
  gatewayClassName: istio-waypoint
  infrastructure: {labels: {solo.io/service-scope: global}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""

SIDECAR = """
apiVersion: v1
kind: Namespace
metadata: {name: side, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello-side, namespace: side}
spec:
  replicas: 1
  selector: {matchLabels: {app: hello-side}}
  template:
    metadata: {labels: {app: hello-side}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: hello-world
          image: isthmus/helloworld
          env: [{name: CLUSTER_ID, value: east}]
          ports: [{name: http, containerPort: 5000}]
---
apiVersion: v1
kind: Service
metadata: {name: hello-side, namespace: side}
spec: {selector: {app: hello-side}, ports: [{name: http, port: 5000}]}
"""

UNSHARED = """
apiVersion: v1
kind: Service
metadata: {name: unshared, namespace: app}
spec: {selector: {app: hello-world}, ports: [{name: http, port: 5000}]}
"""


@contextmanager
def applied(lab: Lab, manifest: str, cluster: str = "east") -> Iterator[None]:
    """Objects are there while the body runs; those that hold others come first."""
    lab.kubectl(cluster, "apply", "--validate=false", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        parts = reversed(manifest.split("\n---\n"))
        lab.kubectl(cluster, "delete", "--wait=false", "-f", "-", stdin="\n---\n".join(parts))


def policy(name: str, spec: str, kind: str = "AuthorizationPolicy") -> str:
    """An object of east's namespace app about hello-world."""
    head = f"apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: app}}\n"
    return head + f"spec: {{{spec}}}\n"


WORKLOAD = "selector: {matchLabels: {app: hello-world}}"
SERVICE = "targetRefs: [{kind: Service, group: '', name: hello-world}]"


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """All clusters are linked, the service is global, and only east runs it: whoever calls, east answers."""
    for cluster in CLUSTERS:
        model.run("multicluster", "expose", "--context", cluster, "--namespace", GATEWAYS)
    model.run("multicluster", "link", *EVERY)
    for cluster in CLUSTERS:
        model.kubectl(cluster, "label", "service", "hello-world", "-n", "app", "solo.io/service-scope=global")
    for cluster in CLUSTERS[1:]:
        model.kubectl(cluster, "scale", "-n", "app", "deployment/hello-world", "--replicas=0")
    for cluster in CLUSTERS:
        model.answered_by(f"{cluster}/{SLEEP}", GLOBAL, {"east"}, within=60)
    yield model
    for cluster in CLUSTERS:
        model.kubectl(cluster, "scale", "-n", "app", "deployment/hello-world", "--replicas=2")
        model.kubectl(cluster, "label", "service", "hello-world", "-n", "app", "solo.io/service-scope-")
        model.kubectl(cluster, "rollout", "status", "-n", "app", "deployment/hello-world", "--timeout=60s")
    model.run("multicluster", "unlink", *EVERY, check=False)


def statuses(lab: Lab, caller: str, url: str = GLOBAL) -> set[int]:
    """The statuses of a few calls; 0 is a connection that ended without an answer."""
    return {call.status for call in lab.call(caller, url, "--count", "4", "--timeout", "3").calls}


def become(lab: Lab, url: str, wanted: dict[str, int]) -> None:
    """Wait until each of these callers gets this status, and nothing else, for a URL."""
    found: dict[str, set[int]] = {}

    def good() -> bool:
        found.update({caller: statuses(lab, caller, url) for caller in wanted if found.get(caller) != {wanted[caller]}})
        return all(found[caller] == {status} for caller, status in wanted.items())

    try:
        eventually(good, within=40, what=f"{wanted} at {url}")
    except AssertionError as error:
        raise AssertionError(f"{error}; found {found}") from None
    assert {caller: statuses(lab, caller, url) for caller in wanted} == {caller: {wanted[caller]} for caller in wanted}


def logged(lab: Lab, pod: str, namespace: str, container: str) -> list[dict[str, Any]]:
    """The access log of a proxy of east."""
    text = lab.kubectl("east", "logs", "-n", namespace, pod, "-c", container)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and '"response_code"' in line]


def node_pods(lab: Lab) -> list[dict[str, Any]]:
    """The pods of the proxies of east's nodes."""
    found: list[dict[str, Any]] = lab.get("east", "pods", "-n", "istio-system", "-l", "app=isthmus-node")["items"]
    return found


def node_logs(lab: Lab) -> list[dict[str, Any]]:
    """The access logs of these proxies."""
    names = [str(pod["metadata"]["name"]) for pod in node_pods(lab)]
    return [line for name in names for line in logged(lab, name, "istio-system", "node-proxy")]


# -- policies by cluster ------------------------------------------------------------------------------------------

EAST, WEST, NORTH, NORTH_BATCH = f"east/{SLEEP}", f"west/{SLEEP}", f"north/{SLEEP}", f"north/{BATCH}"


@pytest.mark.parametrize(
    ("spec", "answered"),
    [
        pytest.param("action: ALLOW, rules: [{from: [{source: {trustDomains: [east.example]}}]}]", {EAST}, id="allow"),
        pytest.param(
            "action: DENY, rules: [{from: [{source: {trustDomains: [west.example]}},"
            " {source: {principals: [north.example/ns/app/sa/batch]}}]}]",
            {EAST, NORTH},
            id="deny a cluster and an identity of another",
        ),
    ],
)
def test_the_proxy_of_a_node_tells_callers_apart_by_cluster(linked: Lab, spec: str, answered: set[str]) -> None:
    """Nobody reads requests there: who is refused has its connection closed, and the log says who and by which rule."""
    become(linked, GLOBAL, dict.fromkeys((EAST, WEST, NORTH, NORTH_BATCH), 200))
    with applied(linked, policy("by-cluster", f"{WORKLOAD}, {spec}")):
        become(linked, GLOBAL, {one: 200 if one in answered else 0 for one in (EAST, WEST, NORTH, NORTH_BATCH)})
        refused = {
            (line["downstream_peer_uri_san"], line["response_code"])
            for line in node_logs(linked)
            if str(line["response_code_details"]).startswith("rbac_access_denied_matched_policy")
        }
        assert (identity("west", "sleep"), 403) in refused
        assert (identity("north", "batch"), 403) in refused
    become(linked, GLOBAL, dict.fromkeys((EAST, WEST, NORTH, NORTH_BATCH), 200))


@contextmanager
def waypoint(lab: Lab) -> Iterator[str]:
    """East's namespace goes through a waypoint while the body runs: the address of its pod."""
    with applied(lab, WAYPOINT):
        try:
            marked = "gateway.networking.k8s.io/gateway-name=waypoint"
            (pod,) = eventually(
                lambda: [one for one in lab.get("east", "pods", "-n", "app", "-l", marked)["items"] if ready(one)],
                within=60,
                what="the waypoint is ready",
            )
            lab.kubectl("east", "label", "namespace", "app", "istio.io/use-waypoint=waypoint")
            yield str(pod["status"]["podIP"])
        finally:
            lab.kubectl("east", "label", "namespace", "app", "istio.io/use-waypoint-")


def ready(pod: dict[str, Any]) -> bool:
    """True if its condition says so."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


BY_REQUEST = policy(
    "by-request",
    f"{SERVICE}, rules: [{{from: [{{source: {{trustDomains: [east.example]}}}}]}},"
    " {from: [{source: {principals: [west.example/ns/app/sa/sleep]}}],"
    " to: [{operation: {methods: [GET], paths: [/hello]}}]}]",
)
ONLY_WAYPOINT = policy(
    "only-waypoint", f"{WORKLOAD}, rules: [{{from: [{{source: {{principals: [east.example/ns/app/sa/waypoint]}}}}]}}]"
)


def test_a_waypoint_tells_callers_apart_by_cluster_and_request(linked: Lab, cards: "Cards") -> None:
    """Who is refused gets 403, and behind a workload that takes the waypoint alone there is no other way."""
    callers = (EAST, WEST, f"west/{BATCH}", NORTH)
    with waypoint(linked) as address:
        become(linked, GLOBAL, dict.fromkeys(callers, 200))
        with applied(linked, BY_REQUEST), applied(linked, ONLY_WAYPOINT):
            become(linked, GLOBAL, dict(zip(callers, (200, 200, 403, 403), strict=True)))
            become(linked, ELSEWHERE, dict(zip(callers, (404, 403, 403, 403), strict=True)))
            answered = linked.call(WEST, GLOBAL, "--count", "4").identities
            assert answered == {identity("west", "sleep")}
            check_doors(linked, cards, "waypoint", {"host": address}, {"authority": HOST})
            # Straight to the pod: by its address, and from another cluster by the word that a waypoint has seen it.
            (server, *_) = addresses(linked)
            straight = door(server, cards["west"], {"authority": f"{server}:5000"})
            past = door(entrance(linked), cards["west"], {"authority": HOST, "headers": {"x-istio-source": "waypoint"}})
            past["layers"].append({"authority": HOST})
            assert met(linked, OUTSIDER, straight)[0] == {"outcome": "refused", "layer": 0, "status": 403}
            assert met(linked, OUTSIDER, past, cluster="west")[0] == {"outcome": "refused", "layer": 1, "status": 403}
    become(linked, GLOBAL, dict.fromkeys(callers, 200))


# -- stolen authorities -------------------------------------------------------------------------------------------

Cards = dict[str, str]
"""Files with certificate, chain and key, by what they are."""

BELIEVED = ("west", "unbound")


def signed(signer: Authority, directory: Path, *identities: str) -> str:
    """A file with a certificate for these identities, its chain and key."""
    key = new_key()
    names = [name for one in identities for name in workload_names(one)]
    serial = serial_from(os.urandom(19))
    issued = signer.issue(key.public_key(), names, validity=Validity(time.time(), DAY), serial=serial)
    file = directory / f"{serial}.pem"
    file.write_bytes(issued.presented + key_to_pem(key))
    return str(file)


@pytest.fixture(scope="module")
def cards(linked: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cards:
    """What somebody shows who has taken west's authority, or has one of no mesh of ours. The first two are believed:
    west's own, and what an authority without a bound could do, so that it is the bound that refuses the third."""
    directory = tmp_path_factory.mktemp("cards")
    west, now = authority_of(linked, "west"), time.time()
    keys = linked.state / "ca"
    root = PemPair((keys / "root-cert.pem").read_bytes(), (keys / "root-key.pem").read_bytes())
    pair = make_intermediate(root, new_key(), now=now, serial=serial_from(os.urandom(19)), cluster="west")
    unbound = from_secret(secret_data(pair, b"", root.certificate), now=now)
    alien = make_root(new_key(), now=now, serial=serial_from(os.urandom(19)))
    foreign = from_pem(alien.key, alien.certificate, alien.certificate, now=now)
    own, forged = identity("west", "sleep"), identity("east", "sleep")
    return {
        "west": signed(west, directory, own),
        "unbound": signed(unbound, directory, forged),
        "west as east": signed(west, directory, forged),
        "west with two names": signed(west, directory, own, forged),
        "nobody linked": signed(unbound, directory, identity("south", "sleep")),
        "foreign, unknown name": signed(foreign, directory, identity("south", "sleep")),
        "foreign, known name": signed(foreign, directory, forged),
        "nothing": "",
        "foreign control plane": signed(foreign, directory, "spiffe://west.example/ns/istio-system/sa/istiod"),
        "west's control plane": signed(west, directory, "spiffe://west.example/ns/istio-system/sa/istiod"),
        "west as north's control plane": signed(west, directory, "spiffe://north.example/ns/istio-system/sa/istiod"),
    }


SHOWN = (
    "west", "unbound", "west as east", "west with two names", "nobody linked", "foreign, unknown name",
    "foreign, known name", "nothing",
)  # fmt: skip


def door(host: str, certificate: str, *layers: dict[str, Any]) -> dict[str, Any]:
    """A way in, for the tunneller; at its end /hello is asked for."""
    return {"host": host, "port": 15008, "certificate": certificate, "layers": list(layers), "path": "/hello"}


def met(lab: Lab, workload: str, *doors: dict[str, Any], cluster: str = "east") -> list[dict[str, Any]]:
    """What somebody in a pod meets there."""
    text = lab.exec(f"{cluster}/{workload}", sys.executable, TUNNELLER, json.dumps(doors)).stdout
    return [{key: one[key] for key in ("outcome", "layer", "status") if key in one} for one in json.loads(text)]


def check_doors(lab: Lab, cards: Cards, name: str, where: dict[str, Any], *layers: dict[str, Any]) -> None:
    """Show every card at a door: the innermost layer is with the card, those around it as west. Only what is believed
    gets an answer; all else gets no handshake."""
    outer = [layer | {"certificate": cards["west"]} for layer in layers[:-1]]
    doors = [door("", cards[one], *outer, layers[-1]) | where for one in SHOWN]
    found = dict(zip(SHOWN, met(lab, OUTSIDER, *doors, cluster="west" if outer else "east"), strict=True))
    refused = {"outcome": NO_HANDSHAKE, "layer": len(layers) - 1}
    good = {"outcome": LET_IN, "status": 200}
    assert found["west"]["outcome"] == found["unbound"]["outcome"] == LET_IN, (name, found)
    assert found == {one: found[one] if one == "unbound" else good if one == "west" else refused for one in SHOWN}, name


def addresses(lab: Lab) -> list[str]:
    """Where east's hello-world is."""
    return [pod["status"]["podIP"] for pod in pods(lab, "east", "app", "hello-world")]


def entrance(lab: Lab) -> str:
    """Where others enter east's network."""
    found = lab.get("east", "service", "istio-eastwest", "-n", GATEWAYS)["status"]["loadBalancer"]["ingress"]
    return str(found[0]["ip"])


def test_the_proxy_of_a_node_believes_no_forged_identity(linked: Lab, cards: Cards) -> None:
    (address, *_) = addresses(linked)
    check_doors(linked, cards, "node", {"host": address}, {"authority": f"{address}:5000"})


def test_a_sidecar_believes_no_forged_identity(linked: Lab, cards: Cards) -> None:
    with applied(linked, SIDECAR):
        (pod,) = eventually(
            lambda: [one for one in linked.get("east", "pods", "-n", "side")["items"] if ready(one)],
            within=60,
            what="the pod with a sidecar is ready",
        )
        address = pod["status"]["podIP"]
        check_doors(linked, cards, "HBONE", {"host": address}, {"authority": f"{address}:5000"})
        check_doors(linked, cards, "mutual TLS", {"host": address, "port": 5000}, {"alpn": ["istio"]})


def test_the_gateway_and_the_workload_behind_it_believe_no_forged_identity(linked: Lab, cards: Cards) -> None:
    """Whoever may open the outer tunnel is judged at the inner one again, by the workload."""
    where = entrance(linked)
    outer = [door(where, cards[one], {"authority": HOST}) | {"path": ""} for one in SHOWN]
    found = met(linked, OUTSIDER, *outer, cluster="west")
    assert found[: len(BELIEVED)] == [{"outcome": "open"}] * len(BELIEVED)
    assert found[len(BELIEVED) :] == [{"outcome": NO_HANDSHAKE, "layer": 0}] * (len(SHOWN) - len(BELIEVED))
    check_doors(linked, cards, "through the gateway", {"host": where}, {"authority": HOST}, {"authority": HOST})


def test_the_gateway_leads_to_global_services_alone(linked: Lab, cards: Cards) -> None:
    where, server = entrance(linked), addresses(linked)[0]
    istiod = linked.get("east", "pods", "-n", "istio-system", "-l", "app=istiod")["items"][0]["status"]["podIP"]
    refused = [
        "unshared.app.svc.cluster.local:5000", "unshared.app.mesh.internal:5000", "hello-world.app.mesh.internal:5001",
        "hello-world.app:5000", "istiod.istio-system.svc.cluster.local:15012", "kubernetes.default:443",
        f"{server}:5000", f"{server}:15008", f"{istiod}:15012", "127.0.0.1:15000", "127.0.0.1:15020", "[::1]:15000",
        "localhost:15000", "0.0.0.0:15021", f"{where}:15012",
    ]  # fmt: skip
    with applied(linked, UNSHARED):
        linked.answered_by(EAST, "http://unshared.app:5000/hello", {"east"})
        asked = [door(where, cards["west"], {"authority": one}) for one in (HOST.upper(), *refused)]
        open_, *others = met(linked, OUTSIDER, *(one | {"path": ""} for one in asked), cluster="west")
    assert open_ == {"outcome": "open"}
    not_found = {"outcome": "refused", "layer": 0, "status": 404}
    assert dict(zip(refused, others, strict=True)) == dict.fromkeys(refused, not_found)


def test_a_pods_tunnel_port_is_for_that_pod_alone(linked: Lab, cards: Cards) -> None:
    """Not for its neighbours, nor for what listens inside of it for the proxy, nor for what is bound to loopback."""
    server, other = addresses(linked)[:2]
    unheard = [f"{server}:{port}" for port in (15000, 15001, 15006, 15008, 15020, 15053, 15090)]
    refused = [
        f"{other}:5000", "127.0.0.1:5000", "127.0.0.6:5000", "localhost:5000", f"{server}:05000", f"{server}:0",
        "unshared.app.svc.cluster.local:5000", "sleep.app.svc.cluster.local:80", "169.254.169.254:80",
    ]  # fmt: skip
    asked = [f"{server}:5000", "hello-world.app.svc.cluster.local:5000", *unheard, *refused]
    first, second, *others = met(linked, OUTSIDER, *(door(server, cards["west"], {"authority": one}) for one in asked))
    assert first == second == {"outcome": LET_IN, "status": 200}
    outcomes = dict(zip([*unheard, *refused], others, strict=True))
    assert {outcomes[one]["outcome"] for one in outcomes} == {"refused"}, outcomes
    assert {outcomes[one]["status"] for one in refused} <= {400, 404}, outcomes


def test_a_port_that_is_denied_has_no_second_spelling(linked: Lab, cards: Cards) -> None:
    server = addresses(linked)[0]
    denied = policy("no-5000", f"{WORKLOAD}, action: DENY, rules: [{{to: [{{operation: {{ports: ['5000']}}}}]}}]")
    with applied(linked, denied):
        become(linked, GLOBAL, {EAST: 0, WEST: 0})
        spelled = [f"{server}:5000", f"{server}:05000", f"{server}:005000", f"{server}:+5000", HOST]
        found = met(linked, OUTSIDER, *(door(server, cards["west"], {"authority": one}) for one in spelled))
        assert {one["outcome"] for one in found} == {"refused"}, found


def test_where_a_caller_is_is_not_for_the_caller_to_say(linked: Lab, cards: Cards) -> None:
    server, said = addresses(linked)[0], {"x-forwarded-for": "192.0.2.7"}
    for blocks in ("remoteIpBlocks", "ipBlocks"):
        only = policy("only-there", f"{WORKLOAD}, rules: [{{from: [{{source: {{{blocks}: [192.0.2.0/24]}}}}]}}]")
        with applied(linked, only):
            become(linked, GLOBAL, {EAST: 0})
            asked = door(server, cards["west"], {"authority": f"{server}:5000", "headers": said})
            assert met(linked, OUTSIDER, asked) == [{"outcome": "refused", "layer": 0, "status": 403}]


def test_a_captured_pod_gets_nowhere_by_hand(linked: Lab, cards: Cards) -> None:
    """What it sends to tunnel ports is captured as all else; the capture ports and the proxy itself are not for it."""
    server, node = addresses(linked)[0], pods(linked, "east", "app", "sleep")[0]["status"]["hostIP"]
    by_hand = door(server, cards["unbound"], {"authority": f"{server}:5000"})
    ports = (15000, 15004, 15020, 15090)
    own = [(host, port) for host in (node, "127.0.0.1") for port in ports] + [(server, 15001), (server, 15006)]
    tunnels = [by_hand | {"host": host, "port": port, "patience": 1.5} for host, port in own]
    for caller in (SLEEP, OUTSIDER):
        found = met(linked, caller, *tunnels, *(one | {"layers": []} for one in tunnels))
        assert not {one["outcome"] for one in found} & {LET_IN, "open", "refused"}, (caller, found)
    assert met(linked, SLEEP, by_hand)[0]["outcome"] == NO_HANDSHAKE
    assert met(linked, OUTSIDER, by_hand)[0]["outcome"] == LET_IN


# -- plain text ---------------------------------------------------------------------------------------------------


def test_plain_text_gets_in_where_peer_authentication_says_so(linked: Lab) -> None:
    outsider = f"east/{OUTSIDER}"
    linked.refused(outsider, HELLO)
    with applied(linked, policy("hello", f"{WORKLOAD}, mtls: {{mode: PERMISSIVE}}", "PeerAuthentication")):
        become(linked, HELLO, {outsider: 200, EAST: 200})
        by_identity = policy("known", f"{WORKLOAD}, rules: [{{from: [{{source: {{principals: ['*']}}}}]}}]")
        with applied(linked, by_identity):  # in plain text nobody is anybody
            become(linked, HELLO, {outsider: 0, EAST: 200})
        become(linked, HELLO, {outsider: 200})
    linked.refused(outsider, HELLO)
    for mode, port, status in (("STRICT", "PERMISSIVE", 200), ("PERMISSIVE", "STRICT", 0)):
        spec = f"{WORKLOAD}, mtls: {{mode: {mode}}}, portLevelMtls: {{5000: {{mode: {port}}}}}"
        with applied(linked, policy("hello", spec, "PeerAuthentication")):
            become(linked, HELLO, {outsider: status, EAST: 200})


# -- the control plane's ports ------------------------------------------------------------------------------------


def knock(lab: Lab, kind: str, workload: str, **wanted: Any) -> dict[str, Any]:
    """How a port of east's control plane takes somebody."""
    given = {"roots": roots(lab, "east", "app"), **wanted}
    found = lab.exec(workload, sys.executable, INTRUDER, kind, json.dumps(given)).stdout
    answer: dict[str, Any] = json.loads(found)
    return answer


def test_only_a_linked_control_plane_is_told_what_is_exported(linked: Lab, cards: Cards) -> None:
    def asked(card: str, cluster: str) -> dict[str, Any]:
        where = {"address": entrance(linked), "port": 15012, "cluster": cluster, "certificate": cards[card]}
        return knock(linked, "peer", f"west/{OUTSIDER}", **where)

    assert "app/hello-world" in asked("west's control plane", "west")["names"]
    for card, cluster, outcome in (
        ("west's control plane", "north", "PERMISSION_DENIED"),
        ("west's control plane", "east", "PERMISSION_DENIED"),
        ("west", "west", "PERMISSION_DENIED"),
        ("unbound", "west", "PERMISSION_DENIED"),
        ("foreign control plane", "west", "UNAVAILABLE"),
        ("nothing", "west", "UNAVAILABLE"),
    ):
        assert asked(card, cluster)["outcome"] == outcome, card
    # Its certificate is not good: TLS refuses it, or else whoever looks at the chain again.
    assert asked("west as north's control plane", "north")["outcome"] in ("UNAVAILABLE", "PERMISSION_DENIED")


def test_a_node_gets_certificates_of_its_own_pods_alone(linked: Lab, cards: Cards) -> None:
    (sleep,) = pods(linked, "east", "app", "sleep")
    mine, other = sorted(node_pods(linked), key=lambda pod: pod["spec"]["nodeName"] != sleep["spec"]["nodeName"])
    token = "/var/run/secrets/tokens/istio-token"

    def asked(pod: dict[str, Any], **wanted: str) -> str:
        where = {"address": "istiod.istio-system.svc", "port": 15012, "cluster": "east", "token": token}
        workload = f"east/istio-system/{pod['metadata']['name']}"
        return str(knock(linked, "csr", workload, **(where | wanted))["outcome"])

    assert asked(mine) == "told"
    assert asked(mine, impersonated=identity("east", "sleep")) == "told"
    assert asked(other, impersonated=identity("east", "sleep")) == "PERMISSION_DENIED"
    assert asked(mine, impersonated=identity("west", "sleep")) == "PERMISSION_DENIED"
    assert asked(mine, impersonated=identity("east", "istiod", "istio-system")) == "PERMISSION_DENIED"
    assert asked(mine, cluster="west") == "UNAUTHENTICATED"
    assert asked(mine, token="no.token.atall") == "UNAUTHENTICATED"
