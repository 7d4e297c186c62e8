"""The columns of `kubectl get`."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver import printers
from isthmus_lab.apiserver.resources import Registry
from isthmus_lab.apiserver.tables import Tabler

NOW = 1_700_000_000.0
REGISTRY = Registry()


def cells(storage: str, obj: dict[str, Any], *, wide: bool = True) -> dict[str, Any]:
    resource = REGISTRY.by_storage(storage)
    assert resource is not None
    version = next(iter(resource.versions.values()))
    table = Tabler(resource, version, include="None", now=NOW).table([obj], {})
    found = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    return {column["name"]: cell for column, cell in found if wide or not column["priority"]}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (600, "10m"), (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"), (3 * 3600 + 300, "3h5m"), (9 * 3600, "9h"), (48 * 3600, "2d"), (50 * 3600, "2d2h"),
        (9 * 86400, "9d"), (730 * 86400, "2y"), (800 * 86400, "2y70d"), (3650 * 86400, "10y"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert printers.duration(seconds) == text


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason}}}


RUNNING = {"name": "c", "ready": True, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        ({"status": {"phase": "Pending"}}, "Pending"),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "Evicted"),
        ({"status": {"phase": "Running", "containerStatuses": [RUNNING]}}, "Running"),
        ({"status": {"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}}, "CrashLoopBackOff"),
        ({"status": {"containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}}, "Completed"),
        ({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}}, "ExitCode:3"),
        ({"status": {"containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}}, "Signal:9"),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [RUNNING, {"state": {"terminated": {"reason": "Completed"}}}],
                    "conditions": [{"type": "Ready", "status": "False"}],
                }
            },
            "NotReady",
        ),
        (
            {
                "spec": {"initContainers": [{"name": "a"}, {"name": "b"}]},
                "status": {
                    "initContainerStatuses": [
                        {"name": "a", "state": {"terminated": {"exitCode": 0}}},
                        {"name": "b", "state": {"running": {}}},
                    ]
                },
            },
            "Init:1/2",
        ),
        (
            {
                "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
                "status": {
                    "phase": "Running",
                    "initContainerStatuses": [{"name": "s", "started": True, "state": {"running": {}}}],
                },
            },
            "Running",
        ),
        (
            {
                "spec": {"initContainers": [{"name": "a"}]},
                "status": {"initContainerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 2}}}]},
            },
            "Init:ExitCode:2",
        ),
        (
            {
                "spec": {"initContainers": [{"name": "a"}]},
                "status": {"initContainerStatuses": [{"name": "a", **waiting("ImagePullBackOff")}]},
            },
            "Init:ImagePullBackOff",
        ),
        ({"metadata": {"deletionTimestamp": "2023-01-01T00:00:00Z"}, "status": {"phase": "Running"}}, "Terminating"),
        ({}, "Unknown"),
    ],
)
def test_the_status_of_a_pod(pod: dict[str, Any], text: str) -> None:
    assert printers.pod_status(pod) == text


def test_pods() -> None:
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2023-11-14T22:11:20Z"},
        "spec": {
            "containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "nodeName": "n",
            "readinessGates": [{"conditionType": "x"}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "x", "status": "True"}],
            "initContainerStatuses": [
                {"name": "i", "ready": True, "state": {"terminated": {"exitCode": 0}}},
                {"name": "s", "ready": True, "started": True, "restartCount": 1},
            ],
            "containerStatuses": [
                {
                    "name": "a",
                    "ready": True,
                    "restartCount": 2,
                    "lastState": {"terminated": {"finishedAt": "2023-11-14T22:12:20Z"}},
                },
                {"name": "b", "ready": False, "restartCount": 0},
            ],
        },
    }
    assert cells("pods", pod) == {
        "Name": "p", "Ready": "2/3", "Status": "Running", "Restarts": "3 (60s ago)", "Age": "2m", "IP": "10.0.0.1",
        "Node": "n", "Nominated Node": "<none>", "Readiness Gates": "1/1",
    }  # fmt: skip


INGRESS = {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "h"}]}}


@pytest.mark.parametrize(
    ("spec", "status", "external", "ports"),
    [
        ({"ports": [{"port": 80}]}, {}, "<none>", "80/TCP"),
        ({"ports": [{"port": 80, "nodePort": 30000, "protocol": "UDP"}]}, {}, "<none>", "80:30000/UDP"),
        ({"type": "LoadBalancer"}, {}, "<pending>", "<none>"),
        ({"type": "LoadBalancer"}, INGRESS, "1.1.1.1,h", "<none>"),
        ({"type": "ExternalName", "externalName": "example.com"}, {}, "example.com", "<none>"),
        ({"externalIPs": ["9.9.9.9"]}, {}, "9.9.9.9", "<none>"),
    ],
)  # fmt: skip
def test_services(spec: dict[str, Any], status: dict[str, Any], external: str, ports: str) -> None:
    found = cells("services", {"metadata": {"name": "s"}, "spec": spec, "status": status})
    assert (found["External-IP"], found["Port(s)"]) == (external, ports)


@pytest.mark.parametrize(
    ("storage", "obj", "expected"),
    [
        (
            "endpointslices.discovery.k8s.io",
            {
                "addressType": "IPv4",
                "ports": [{"port": 80}, {"port": None}],
                "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(1, 6)],
            },
            {"AddressType": "IPv4", "Ports": "80,*", "Endpoints": "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."},
        ),
        ("endpointslices.discovery.k8s.io", {"endpoints": []}, {"Ports": "<unset>", "Endpoints": "<unset>"}),
        (
            "nodes",
            {
                "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
                    "nodeInfo": {"kubeletVersion": "v1.32"},
                },
            },
            {"Status": "Ready,SchedulingDisabled", "Roles": "worker", "Version": "v1.32", "Internal-IP": "10.0.0.9"},
        ),
        ("nodes", {}, {"Status": "Unknown", "Roles": "<none>", "External-IP": "<none>"}),
        (
            "deployments.apps",
            {
                "spec": {
                    "replicas": 3,
                    "selector": {
                        "matchLabels": {"a": "b"},
                        "matchExpressions": [
                            {"key": "c", "operator": "In", "values": ["y", "x"]},
                            {"key": "d", "operator": "DoesNotExist"},
                        ],
                    },
                    "template": {"spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "j"}]}},
                },
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            {
                "Ready": "1/3", "Up-to-date": 2, "Available": 1, "Containers": "x,y", "Images": "i,j",
                "Selector": "a=b,c in (x,y),!d",
            },
        ),
        (
            "events",
            {
                "lastTimestamp": "2023-11-14T22:13:10Z",
                "type": "Warning",
                "reason": "Failed",
                "message": " it broke\n",
                "involvedObject": {"kind": "Pod", "name": "p"},
                "count": 4,
            },
            {"Last Seen": "10s", "Type": "Warning", "Object": "pod/p", "Message": "it broke", "Count": 4},
        ),
        (
            "clusterrolebindings.rbac.authorization.k8s.io",
            {
                "roleRef": {"kind": "ClusterRole", "name": "view"},
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                    {"kind": "Group", "name": "g"},
                ],
            },
            {"Role": "ClusterRole/view", "Users": "u", "Groups": "g", "ServiceAccounts": "n/s"},
        ),
        ("secrets", {"type": "Opaque", "data": {"a": "", "b": ""}}, {"Type": "Opaque", "Data": 2}),
        (
            "horizontalpodautoscalers.autoscaling",
            {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3}},
            {"Reference": "Deployment/d", "MinPods": "<unset>", "MaxPods": 3},
        ),
        ("poddisruptionbudgets.policy", {"spec": {"minAvailable": 1}}, {"Min Available": 1, "Max Unavailable": "N/A"}),
        ("leases.coordination.k8s.io", {"spec": {"holderIdentity": "me"}}, {"Holder": "me"}),
        (
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}, {"port": 81}]}]},
            {"Endpoints": "10.0.0.1:80,10.0.0.1:81"},
        ),
    ],
)  # fmt: skip
def test_columns(storage: str, obj: dict[str, Any], expected: dict[str, Any]) -> None:
    found = cells(storage, obj)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("resource", [r for r in REGISTRY.all() if "list" in r.verbs], ids=lambda r: r.storage)
def test_an_empty_object_has_a_row_everywhere(resource: Any) -> None:
    found = cells(resource.storage, {}, wide=False)
    assert "Name" in found or "Last Seen" in found
