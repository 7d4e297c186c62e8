"""`isthmus multicluster`: which links are written, and what is said of them, with clusters in memory."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from isthmus.base.errors import UnreachableError
from isthmus.cli import linking, multicluster, places
from isthmus.cli import main as cli
from isthmus.cli.reach import Answer
from isthmus.kube.requests import NAMESPACES, Resource, Scope

Run = Callable[..., tuple[int, str, str]]
Listeners = list[str]


class Cluster:
    """One context: its Gateways, and a control plane to which every link stands at once unless it is `cut`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gateways: dict[str, dict[str, Any]] = {"istio-eastwest": entrance(name)}
        self.domain = f"{name}.test"
        self.roots = f"roots of {name}"
        self.network = f"{name}-net"
        self.cut = False
        self.away = False
        self.waits_for: list[str] = []
        self.kept: list[str] = []

    async def list(self, resource: Resource, scope: Scope | None = None) -> list[dict[str, Any]]:
        assert resource == linking.GATEWAYS
        return list(self.gateways.values())

    async def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        return {} if resource == NAMESPACES else self.gateways.get(name)

    async def apply(self, resource: Resource, body: dict[str, Any], *, manager: str) -> dict[str, Any]:
        self.gateways[body["metadata"]["name"]] = body
        return body

    async def delete(self, resource: Resource, namespace: str, name: str) -> None:
        del self.gateways[name]

    async def __aenter__(self) -> "Cluster":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    @property
    def links(self) -> dict[str, Listeners]:
        """Names of links, and of their listeners."""
        found = {name: one for name, one in self.gateways.items() if name.startswith("istio-remote")}
        return {name: [it["name"] for it in one["spec"]["listeners"]] for name, one in found.items()}

    def page(self) -> dict[str, Any]:
        peers = [self._peer(name, listeners) for name, listeners in sorted(self.links.items())]
        return {
            "cluster": self.name,
            "network": self.network,
            "trustDomain": self.domain,
            "roots": self.roots,
            "peers": peers,
            "newAuthorityWaitsFor": self.waits_for,
            "rootsKept": self.kept,
        }

    def _peer(self, name: str, listeners: Listeners) -> dict[str, Any]:
        asks = "xds-tls" in listeners
        return {
            "peer": name.rpartition("-")[2],
            "state": "inbound" if not asks else "error" if self.cut else "connected",
            "connectedSince": None if self.cut or not asks else 1.0,
            "lastUpdate": None,
            "roundTrip": None if self.cut or not asks else 0.0042,
            "servicesIn": 3,
            "servicesOut": None if asks else 2,
            "lastError": "no answer in time" if self.cut else "",
        }


def entrance(name: str) -> dict[str, Any]:
    """An east-west gateway as its controller leaves it."""
    listeners = [
        {"name": "cross-network", "port": 15008, "protocol": "HBONE"},
        {"name": "xds-tls", "port": 15012, "protocol": "TLS"},
    ]
    labels = {"topology.istio.io/network": f"{name}-net", "istio.io/expose-istiod": "15012"}
    return {
        "metadata": {"name": "istio-eastwest", "labels": labels},
        "spec": {"gatewayClassName": "istio-eastwest", "listeners": listeners},
        "status": {"addresses": [{"type": "IPAddress", "value": f"198.18.0.{len(name)}"}]},
    }


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, Cluster]:
    made = {name: Cluster(name) for name in ("east", "west", "north")}

    async def connect(_: str, context: str) -> Cluster:
        return made[context or "east"]

    async def answers(client: Cluster, namespace: str, path: str) -> list[Answer]:
        assert (namespace, path) == ("istio-system", "/debug/peers")
        if client.away:
            raise UnreachableError("https://there: connection refused", "Check the address")
        return [Answer("istiod-1", client.page())]

    monkeypatch.setattr(places, "connect", connect)
    monkeypatch.setattr(places, "ask_all_istiods", answers)
    monkeypatch.setattr(multicluster, "LOOK_AGAIN", 0.01)
    return made


@pytest.fixture
def run(world: dict[str, Cluster], capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["multicluster", *arguments])
        done = capsys.readouterr()
        return int(left.value.code or 0), done.out, done.err

    return call


BOTH = ["cross-network", "xds-tls"]


def test_all_pairs_are_linked_both_ways(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run("link", "--contexts", "east,west,north")
    assert code == 0
    assert world["east"].links == {"istio-remote-peer-west": BOTH, "istio-remote-peer-north": BOTH}
    assert world["north"].links == {"istio-remote-peer-east": BOTH, "istio-remote-peer-west": BOTH}
    assert "east → west: istio-gateways/istio-remote-peer-west" in out
    assert out.count("connected") == 6
    link = world["east"].gateways["istio-remote-peer-west"]
    assert link["metadata"]["annotations"]["gateway.istio.io/trust-domain"] == "west.test"
    assert link["metadata"]["annotations"]["isthmus.dev/trust-bundle"] == "roots of west"
    assert link["spec"]["addresses"] == [{"type": "IPAddress", "value": "198.18.0.4"}]


def test_one_way_the_other_is_told_only_whom_to_let_in(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run("link", "--from", "east", "--to", "north")
    assert code == 0
    assert world["east"].links == {"istio-remote-peer-north": BOTH}
    assert world["north"].links == {"istio-remote-peer-east": ["cross-network"]}
    assert "north lets east in" in out
    run("link", "--from", "north", "--to", "east")
    run("link", "--from", "east", "--to", "north")
    assert world["north"].links == {"istio-remote-peer-east": BOTH}, "a link that is more stays"


def test_what_is_generated_is_what_would_be_written(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run("link", "--generate", "--context", "west")
    assert code == 0
    assert world["east"].links == world["west"].links == {}
    assert "isthmus.dev/trust-bundle: " in out
    run("link", "--contexts", "east,west")
    assert yaml.safe_load(out) == world["east"].gateways["istio-remote-peer-west"]


def test_nothing_is_written_where_one_cannot_be_entered(run: Run, world: dict[str, Cluster]) -> None:
    del world["west"].gateways["istio-eastwest"]
    code, _, err = run("link", "--contexts", "east,west")
    assert code == 1
    assert "isthmus multicluster expose --context west" in err
    assert world["east"].links == {}


def test_a_link_that_does_not_stand_in_time_is_told(run: Run, world: dict[str, Cluster]) -> None:
    world["east"].cut = True
    code, out, _ = run("link", "--contexts", "east,west", "--timeout", "1")
    assert code == 1
    assert "no answer in time" in out
    assert run("link", "--contexts", "east,west", "--no-wait")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["link"], "nothing says which clusters are meant. Give --contexts, or --from and --to"),
        (["link", "--contexts", "east"], "one cluster has no link. Name two or more contexts"),
        (["link", "--contexts", "east,west", "--from", "east"], "Give one or the other"),
        (["link", "--from", "east"], "--from names one cluster, and nothing the other. Give --to, too"),
        (["unlink", "--to", "east"], "--to names one cluster, and nothing the other. Give --from, too"),
        (["link", "--from", "east", "--to", "east"], "--from and --to are both east. Name two clusters"),
        (["link", "--generate", "--contexts", "east,west"], "Give it with --context"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], said: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err


def test_links_are_taken_away(run: Run, world: dict[str, Cluster]) -> None:
    run("link", "--contexts", "east,west,north")
    assert run("unlink", "--from", "east", "--to", "north")[0] == 0
    assert world["east"].links == {"istio-remote-peer-west": BOTH, "istio-remote-peer-north": ["cross-network"]}
    assert run("unlink", "--contexts", "east,west")[0] == 0
    assert set(world["east"].links) == {"istio-remote-peer-north"}
    assert "istio-remote-peer-east" not in world["west"].links
    assert run("unlink", "--contexts", "east,west")[0] == 1


def test_of_a_link_one_way_nothing_is_left(run: Run, world: dict[str, Cluster]) -> None:
    run("link", "--from", "east", "--to", "north")
    code, out, _ = run("unlink", "--from", "north", "--to", "east")
    assert (code, out) == (1, "north → east: was not linked\n"), "north lets east in, and does not call it"
    assert world["east"].links == {"istio-remote-peer-north": BOTH}
    assert run("unlink", "--from", "east", "--to", "north")[0] == 0
    assert world["east"].links == world["north"].links == {}


def test_check_shows_both_ends_and_fails_where_one_does_not_stand(run: Run, world: dict[str, Cluster]) -> None:
    assert "no links" in run("check", "--contexts", "east,west")[1]
    run("link", "--from", "east", "--to", "west")
    code, out, _ = run("check", "--contexts", "east,west")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["east", "west", "connected"],
        ["west", "east", "inbound"],
    ]
    assert "4.2 ms" in out
    world["east"].cut = True
    code, out, _ = run("check", "--contexts", "east,west", "-o", "json")
    assert code == 1
    assert [(one["cluster"], one["state"]) for one in json.loads(out)] == [("east", "error"), ("west", "inbound")]


def test_check_shows_the_others_where_a_cluster_does_not_answer(run: Run, world: dict[str, Cluster]) -> None:
    run("link", "--contexts", "east,west,north")
    world["west"].away = True
    code, out, err = run("check", "--contexts", "east,west,north")
    assert code == 3
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["east", "east", "north", "north"]
    assert err == "Warning: west: https://there: connection refused. Check the address\n"
    for wants_all in (["check", "--precheck"], ["link"]):
        code, out, err = run(*wants_all, "--contexts", "east,west,north")
        assert (code, out) == (3, "")
        assert "west: https://there: connection refused" in err


def test_check_says_who_is_waited_for_where_an_authority_is_replaced(run: Run, world: dict[str, Cluster]) -> None:
    run("link", "--contexts", "east,west")
    world["east"].waits_for, world["west"].kept = ["cluster west", "cluster north"], ["0123456789abcdef"]
    out = run("check", "--contexts", "east,west")[1]
    assert "the new authority does not sign yet; it is not believed by cluster west, cluster north" in out
    assert "root 0123456789a is believed on" in out


def test_clusters_are_looked_at_before_they_are_linked(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run("check", "--precheck", "--contexts", "east,west")
    assert (code, "0 warnings, 0 errors" in out) == (0, True)
    world["west"].network = world["east"].network
    world["west"].domain = world["east"].domain
    world["west"].gateways.clear()
    code, out, _ = run("check", "--precheck", "--contexts", "east,west")
    assert code == 1
    assert "network east-net is the name of 2 clusters" in out
    assert "trust domain east.test has 2 sets of roots" in out
    assert "west has no east-west gateway" in out
