"""A small lab driven as a user drives it: up, calls, drills, down, up again, nothing left."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.lab_pkg.tiny import URL, Driver, eventually

pytestmark = pytest.mark.lab


def test_up_again_is_content(lab: Driver) -> None:
    before = lab.status()["supervisor"]
    assert "runs already" in lab.run("up", str(lab.example))
    assert lab.status()["supervisor"] == before


def test_nodes_are_in_regions_and_zones(lab: Driver) -> None:
    nodes = {n["name"]: (n["region"], n["zone"]) for n in lab.status()["clusters"]["east"]["nodes"]}
    assert nodes["n1"] == ("eu", "eu-a")
    assert len(nodes) == 2


def test_networks_are_apart_and_services_answer_in_their_own_cluster(lab: Driver) -> None:
    report = json.loads(lab.run("verify", "-o", "json"))
    assert report["problems"] == []
    assert {r["outcome"] for r in report["unreachable"] if r["target"].startswith("node")} == {"timed out"}
    assert [c["summary"]["good"] for c in report["calls"]] == [4]
    assert {s["name"]: s["endpoints"] for s in report["services"]} == {"sample/helloworld": {"east": 2, "west": 2}}
    text = lab.run("verify")
    assert "Networks are apart" in text
    assert "\x1b" not in text


def test_call_exec_and_logs(lab: Driver) -> None:
    report = json.loads(lab.run("call", "west/sleep", URL, "-n", "8", "-o", "json"))
    instances = {item["body"]["instance"] for item in report["calls"]}
    assert instances == {p["name"] for p in lab.pods("west", "helloworld")}
    assert lab.run("exec", "west/sleep", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7) == "out\nerr\n"
    assert "1 of 1" not in lab.run("call", "west/sleep", "http://nowhere.sample:1/", code=1)
    assert lab.run("logs", "west/sleep", "--tail", "1") == ""
    assert "no pod of 'nobody'" in lab.run("logs", "west/nobody", code=2)


def test_processes_are_the_hosts_and_a_killed_container_comes_back(lab: Driver) -> None:
    pod = lab.pods("east", "helloworld")[0]
    pid = pod["pids"]["helloworld"]
    assert "helloworld" in Path(f"/proc/{pid}/cmdline").read_text()
    os.kill(pid, 9)

    def back() -> bool:
        (now,) = [p for p in lab.pods("east", "helloworld") if p["name"] == pod["name"]]
        return bool(now["ready"] and now["restarts"] == 1 and now["pids"]["helloworld"] != pid)

    eventually(back, "the container runs again")


def test_a_killed_pod_stays_dead_until_restored(lab: Driver) -> None:
    name = lab.pods("west", "sleep")[0]["name"]
    assert lab.run("kill", f"west/{name}") == f"killed west/sample/{name}\n"
    eventually(lambda: not lab.pods("west", "sleep")[0]["ready"], "the pod is dead")
    assert f"west/{name}" in lab.status()["held"]
    assert "isthmus lab restore" in lab.run("status")
    lab.run("restore", f"west/{name}")
    eventually(lambda: lab.ready("west", "sleep"), "the pod is back")


def test_pods_live_on_without_their_api_server(lab: Driver) -> None:
    lab.run("kill", "west/apiserver", "--for", "1s")
    assert not lab.status()["clusters"]["west"]["apiServer"]["running"]
    assert "4 of 4 answered" in lab.run("call", "west/sleep", URL, "-n", "4")
    eventually(lambda: lab.status()["clusters"]["west"]["apiServer"]["running"], "the API server is back")


def test_a_killed_node_takes_its_pods_along_and_brings_them_back(lab: Driver) -> None:
    before = {p["name"]: p["ip"] for p in lab.pods("west", "")}
    pids = [pid for p in lab.pods("west", "") for pid in p["pids"].values()]
    lab.run("kill", "west/node/n1")
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all its processes are gone")
    assert "does not answer" in lab.run("exec", "west/n1", "--", "true", code=2) or lab.pods("west", "") == []
    lab.run("restore")
    eventually(lambda: lab.ready("west", ""), "all pods are back")
    assert {p["name"]: p["ip"] for p in lab.pods("west", "")} == before


def test_partition_and_its_mending(lab: Driver) -> None:
    gateway = "198.18.16.2"  # west's router: refuses where it is reached, is silent where it is not
    reach = ["exec", "east/sleep", "--", sys.executable, "-m", "isthmus_lab.apps.reach", gateway, "1"]
    assert json.loads(lab.run(*reach))["outcome"] == "refused"
    assert lab.run("partition", "east", "west") == "cut a - b\n"
    assert json.loads(lab.run(*reach))["outcome"] == "timed out"
    lab.run("restore", "a", "b")
    assert json.loads(lab.run(*reach))["outcome"] == "refused"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("kill", "west/nobody"), "nothing in west is called 'nobody'. Use one of: apiserver"),
        (
            ("kill", "west/waypoint"),
            "nothing in west is called 'waypoint'. Use one of: apiserver, node/n1, a pod's name",
        ),
        (("kill", "north/apiserver"), "no cluster 'north'"),
        (("partition", "a", "a"), "give one network, or two different ones"),
        (("partition", "a", "b", "--for", "soon"), "'soon' is no duration"),
        (("restore", "east/apiserver2"), "was not killed"),
        (("status", "-o", "xml"), "no output format 'xml'"),
    ],
)
def test_wrong_use_is_told(lab: Driver, words: tuple[str, ...], said: str) -> None:
    assert said in lab.run(*words, code=2)


def test_the_end_and_the_next_start(lab: Driver) -> None:
    kubeconfig = yaml.safe_load(lab.run("kubeconfig"))
    pods = {p["name"] for p in lab.pods("east", "")}
    pids = [pid for p in lab.pods("east", "") for pid in p["pids"].values()] + [lab.status()["supervisor"]]
    assert "ended" in lab.run("down")
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "no process is left")
    assert "tiny" not in Path("/proc/self/mounts").read_text()
    assert not list(lab.state.rglob("*.pid"))
    assert "no lab runs" in lab.run("status", code=3)
    assert "did not run" in lab.run("down")

    lab.run("up", str(lab.example))
    assert {p["name"] for p in lab.pods("east", "")} == pods, "objects of the last run are there again"
    assert yaml.safe_load(lab.run("kubeconfig")) == kubeconfig
