"""What a node says of itself."""

from pathlib import Path

from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.node import node_status
from isthmus_lab.labfile.load import parse
from isthmus_lab.net.plan import make_plan

NODE = {"name": "n1", "region": "eu", "zone": "eu-a"}


def config() -> NodeConfig:
    document = {"networks": [{"name": "a"}], "clusters": [{"name": "east", "network": "a", "nodes": [NODE]}]}
    world, problems = parse({"name": "x", **document}, Path("/lab/lab.yaml"))
    assert world is not None, problems
    plan = make_plan(world)
    return NodeConfig(
        cluster="east",
        node=plan.cluster("east").nodes[0],
        network=plan.network("a"),
        service_cidr="10.96.0.0/16",
        api_socket="/nowhere",
        api_token_file="/nowhere",
        api_service_ip="10.96.0.1",
        directory="/nowhere",
    )


def test_conditions_have_the_time_of_the_report_and_of_their_last_change() -> None:
    first = node_status(config(), {}, 0.0)
    later = node_status(config(), first, 300.0)
    for condition in later["conditions"]:
        assert condition["lastHeartbeatTime"] == "1970-01-01T00:05:00Z"
        assert condition["lastTransitionTime"] == "1970-01-01T00:00:00Z"
        assert "lastProbeTime" not in condition
    assert {c["type"]: c["status"] for c in later["conditions"]}["Ready"] == "True"


def test_what_others_say_of_the_node_stays() -> None:
    other = {"type": "NetworkUnavailable", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    found = node_status(config(), {"conditions": [other]}, 0.0)["conditions"]
    assert [c["type"] for c in found][-1] == "NetworkUnavailable"
