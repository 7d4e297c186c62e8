"""Machines of a lab.yaml: what is accepted, their addresses, their names, what they run."""

from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.labfile.load import parse
from isthmus_lab.machine.config import MachineConfig
from isthmus_lab.machine.services import AGENT, services
from isthmus_lab.net.plan import make_plan
from isthmus_lab.supervisor.machines import names
from isthmus_lab.supervisor.roles import mesh_objects
from isthmus_lab.world import Machine, World
from tests.lab_pkg.test_world import HERE, document

JOINS = {"name": "m", "network": "a", "cluster": "east", "group": "ns/db", "run": ["helloworld --port 8080"]}
OUTSIDE = {"name": "o", "network": "b", "wan": True, "hosts": ["x.example"], "env": {"A": 1}}


def world(*machines: dict[str, Any]) -> World:
    made, problems = parse(document(machines=list(machines)), HERE)
    assert problems == []
    assert made is not None
    return made


def test_what_is_written_is_read() -> None:
    assert world(JOINS, OUTSIDE).machines == (
        Machine(name="m", network="a", cluster="east", group="ns/db", run=(("helloworld", "--port", "8080"),)),
        Machine(name="o", network="b", wan=True, hosts=("x.example",), env=(("A", "1"),)),
    )


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"name": "m", "network": "z"}, "machine m: network: 'z' is not a network"),
        ({"name": "m", "network": "a", "group": "ns/db"}, "machine m: cluster: '' is not a cluster with"),
        (JOINS | {"group": "db"}, "machine m: group: 'db' names no WorkloadGroup"),
        (JOINS | {"cluster": "north"}, "machine m: cluster: 'north' is not a cluster with"),
        (JOINS | {"run": "helloworld"}, "machine m: run: 'helloworld' is not a list"),
        (JOINS | {"run": ["'"]}, 'machine m: run: "\'" is no command'),
        (JOINS | {"run": ["sleep 1", "sleep 2"]}, "machine m: run: 'sleep' appears more than once"),
        (JOINS | {"hosts": ["a b"]}, "machine m: hosts: 'a b' is not a domain"),
        (JOINS | {"env": []}, "machine m: env: [] is not a mapping"),
        (JOINS | {"color": "red"}, "machine m: color: unknown field"),
    ],
)
def test_what_is_wrong_is_said(machine: dict[str, Any], said: str) -> None:
    _, problems = parse(document(machines=[machine]), HERE)
    assert [problem for problem in problems if problem.startswith(said)], problems


def test_a_cluster_without_gateway_takes_no_machines() -> None:
    _, problems = parse(
        document(networks=[{"name": "a"}], clusters=[document()["clusters"][0]], machines=[JOINS]), HERE
    )
    assert problems == [
        "machine m: cluster: cluster east has no gateway, through which machines reach its control plane; "
        "write gateway: true for it"
    ]


def test_addresses_are_nobody_elses() -> None:
    plan = make_plan(world(JOINS, OUTSIDE, OUTSIDE | {"name": "p", "hosts": []}))
    assert [(one.name, one.ip, one.wan_ip) for one in plan.machines] == [
        ("m", "10.10.0.240", ""),
        ("o", "10.10.0.240", "198.18.16.50"),
        ("p", "10.10.0.241", "198.18.16.51"),
    ]


def test_names_lead_to_where_a_machine_is_seen_from() -> None:
    made = world(JOINS | {"hosts": ["m.example"]}, OUTSIDE)
    plans = list(make_plan(made).machines)
    assert names(made, plans, "a") == {"m.example": ["10.10.0.240"], "x.example": ["198.18.16.50"]}
    assert names(made, plans, "b") == {"x.example": ["10.10.0.240"]}


def test_the_gateway_of_its_cluster_leads_machines_to_the_control_plane() -> None:
    def gateways(made: World, cluster: str) -> set[str]:
        return {o["metadata"]["name"] for o in mesh_objects(made, cluster, {}) if o["kind"] == "Gateway"}

    made = world(JOINS)
    extra = gateways(made, "east") - gateways(made, "west")
    assert len(extra) == 1
    assert gateways(world(OUTSIDE), "east") == gateways(made, "west")


def test_what_a_machine_runs() -> None:
    config = MachineConfig(
        name="m",
        namespace="ns",
        ip="10.0.0.1",
        wan_ip="",
        directory="/d",
        run=[["helloworld", "--port", "1"], ["/bin/cat"]],
        env={"A": "b"},
        joins=True,
    )
    app, other, agent = services(config)
    assert (app.name, app.spec.argv, app.spec.env["A"]) == ("helloworld", ["helloworld", "--port", "1"], "b")
    assert (other.name, other.spec.argv, other.spec.entry) == ("cat", ["/bin/cat"], None)
    assert agent.name == AGENT
    assert agent.spec.argv[-6:] == ["--dir", "/d/mesh", "--state-dir", "/d/agent", "--ip", "10.0.0.1"]
    assert Path(str(agent.spec.log)) == Path("/d/istio-proxy.log")
