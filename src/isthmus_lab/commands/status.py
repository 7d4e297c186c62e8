"""`isthmus lab status`: clusters, nodes, pods, processes."""

from typing import Any

from isthmus_lab.commands import talk
from isthmus_lab.commands.hostpids import HostPids, processes
from isthmus_lab.supervisor.launch import supervisor_pid
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import MACHINES

Document = dict[str, Any]
_OF_CLUSTER = ("network", "meshNetwork", "role", "controlPlanes", "trustDomain", "dataPlane")


def gather(state: StateDirectory) -> Document:
    """Everything, as one JSON document; pids are the host's."""
    raw = talk.ask(state, {"op": "status"})
    supervisor = supervisor_pid(state) or 0
    pids = HostPids(processes(), supervisor)
    ports = state.ports()
    children = raw["processes"]
    document: Document = {
        "name": raw["name"],
        "meshID": raw["meshID"],
        "state": str(state.path),
        "supervisor": supervisor,
        "ready": raw["up"],
        "networks": raw["networks"],
        "controlPlanes": raw["controlPlanes"],
        "cut": raw["cut"],
        "held": raw["held"],
        "clusters": {},
        "machines": {
            name: _machine(machine, children.get(f"{MACHINES}/{name}", {}), pids)
            for name, machine in raw["machines"].items()
        },
    }
    for name, cluster in raw["clusters"].items():
        api = children.get(f"{name}/apiserver", {})
        document["clusters"][name] = {
            **{key: cluster[key] for key in _OF_CLUSTER},
            "apiServer": {
                "host": f"https://127.0.0.1:{ports.get(name, 0)}",
                "network": f"https://{cluster['apiIP']}:6443",
                "wan": f"https://{cluster['apiWanIP']}:6443",
                **_process(api, pids.of_lab(api.get("pid", 0))),
            },
            "nodes": [
                {**node, **_process(children.get(f"{name}/node/{node['name']}", {}), 0, pids)}
                for node in cluster["nodes"]
            ],
            "pods": [
                _pod(pod, pids, children.get(f"{name}/node/{pod['node']}", {}).get("pid", 0))
                for pod in sorted(cluster["pods"], key=lambda p: (p["namespace"], p["name"]))
            ],
        }
    return document


def _machine(machine: Document, child: Document, pids: HostPids) -> Document:
    inside = {name: pids.on_node(child.get("pid", 0), pid) for name, pid in machine["pids"].items()}
    keys = ("network", "cluster", "group", "ip", "wanIP", "ready", "troubles")
    return {**{key: machine[key] for key in keys}, "pids": inside, **_process(child, 0, pids)}


def _process(child: Document, pid: int, pids: HostPids | None = None) -> Document:
    host = pids.of_lab(child.get("pid", 0)) if pids else pid
    held, restarts = child.get("held", False), child.get("restarts", 0)
    return {"pid": host, "held": held, "restarts": restarts, "running": bool(child.get("pid"))}


def _pod(pod: Document, pids: HostPids, runtime: int) -> Document:
    containers = {name: pids.on_node(runtime, pid) for name, pid in pod["pids"].items()}
    keys = ("namespace", "name", "node", "ip", "wanIP", "ready", "held", "restarts", "troubles")
    return {**{key: pod.get(key) for key in keys}, "pids": containers}
