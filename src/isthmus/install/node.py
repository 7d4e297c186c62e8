"""The proxy of each node for its ambient pods: a DaemonSet, its account, and what it needs of the node."""

from dataclasses import dataclass, field

from isthmus.install import access
from isthmus.install.istiod import common_labels
from isthmus.install.proxy import STATE_DIR, STATUS_PORT, plain_env, proxy_env, readiness, volume_mounts, volumes
from isthmus.install.values import Manifest, MeshValues, Resources, Scaling
from isthmus.install.workload import Workload, daemon_set

NODE_NAME = "isthmus-node"
"""Of the DaemonSet and of its ServiceAccount, which the control plane lets ask for identities of its node's pods."""

CONTAINER = "node-proxy"

RUN_DIR = "/run/isthmus"
"""On the node: the agent's sockets and state, and below `netns` a link to the network namespace of each pod."""

NETNS_DIR = "/run/isthmus/netns"
RUNTIME_NETNS_DIR = "/run/netns"
"""Where container runtimes keep network namespaces."""

CNI_BIN_DIR, CNI_NET_DIR = "/opt/cni/bin", "/etc/cni/net.d"
CNI_BIN_MOUNT, CNI_NET_MOUNT = "/var/run/cni/bin", "/var/run/cni/net.d"
NETNS_MOUNT = "/var/run/netns"

ZTUNNEL_DIR = "/var/run/ztunnel"
ZTUNNEL_SOCKET = f"{ZTUNNEL_DIR}/ztunnel.sock"
"""On the node: where a ztunnel expects to be handed pods."""

CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
"""Redirection and marks; entering pods' namespaces; finding the namespaces of pods that were there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeValues:
    """The node proxy of one cluster. The directories are those of the nodes' container runtime."""

    mesh: MeshValues
    cni_bin_dir: str = CNI_BIN_DIR
    cni_net_dir: str = CNI_NET_DIR
    excluded: tuple[str, ...] = ("kube-system",)
    """Namespaces, beside the system namespace, whose pods start without asking the agent, and so are never ambient."""
    resources: Resources = field(default_factory=lambda: Resources(cpu="200m", memory="256Mi"))
    ztunnel: bool = False
    """The agents run no Envoy, but hand the pods of their nodes to a ztunnel, which somebody else installs."""


def node_proxy(values: NodeValues) -> list[Manifest]:
    """Account, rights and DaemonSet. The cluster has a control plane, or is served by one, already."""
    mesh = values.mesh
    labels = common_labels(mesh)
    workload = Workload(
        name=NODE_NAME,
        namespace=mesh.namespace,
        labels={**labels, "istio.io/dataplane-mode": "none"},
        selector={"app": NODE_NAME},
        scaling=Scaling(),
    )
    account = (mesh.namespace, NODE_NAME)
    return [
        access.service_account(NODE_NAME, mesh.namespace, labels),
        *access.granted(f"{NODE_NAME}-{mesh.namespace}", access.NODE_RULES, account, labels),
        *access.granted(NODE_NAME, access.NODE_SYSTEM_RULES, account, labels, namespaced=True),
        daemon_set(workload, _pod_spec(values)),
    ]


def _pod_spec(values: NodeValues) -> Manifest:
    return {
        "serviceAccountName": NODE_NAME,
        "hostNetwork": True,
        "hostPID": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "priorityClassName": "system-node-critical",
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 30,
        "containers": [_container(values)],
        "volumes": _volumes(values),
    }


def _container(values: NodeValues) -> Manifest:
    mesh = values.mesh
    domain = ["--domain", f"$(POD_NAMESPACE).svc.{mesh.domain}"]
    # Ready is what runs an Envoy that is.
    envoy = {
        "ports": [{"containerPort": STATUS_PORT, "name": "status-port", "protocol": "TCP"}],
        "readinessProbe": readiness(period=2, failures=4),
    }
    return {
        "name": CONTAINER,
        "image": mesh.images.node,
        "imagePullPolicy": mesh.images.pull_policy,
        "args": [*domain, "--ztunnel", ZTUNNEL_SOCKET] if values.ztunnel else domain,
        "env": _environment(values),
        **({} if values.ztunnel else envoy),
        "resources": values.resources.manifest(),
        "securityContext": {
            "allowPrivilegeEscalation": True,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            "readOnlyRootFilesystem": True,
            "runAsUser": 0,
            "runAsGroup": 0,
        },
        "volumeMounts": [
            *(mount for mount in volume_mounts() if mount["name"] != "isthmus-data"),
            {"name": "isthmus-run", "mountPath": STATE_DIR},
            {"name": "netns", "mountPath": NETNS_MOUNT, "mountPropagation": "HostToContainer"},
            {"name": "cni-bin", "mountPath": CNI_BIN_MOUNT},
            {"name": "cni-net", "mountPath": CNI_NET_MOUNT},
            *([{"name": "ztunnel", "mountPath": ZTUNNEL_DIR}] if values.ztunnel else ()),
        ],
    }


def _environment(values: NodeValues) -> list[Manifest]:
    mesh = values.mesh
    owner = f"kubernetes://apis/apps/v1/namespaces/{mesh.namespace}/daemonsets/{NODE_NAME}"
    made = proxy_env(
        mesh,
        network=mesh.network,
        workload={"WORKLOAD_NAME": NODE_NAME, "OWNER": owner},
        metadata={"ISTIO_META_NETNS_DIR": NETNS_DIR, "ISTIO_META_DNS_CAPTURE": str(mesh.dns_capture).lower()},
    )
    excluded = dict.fromkeys((mesh.namespace, *values.excluded))
    own = {"CNI_BIN_DIR": CNI_BIN_MOUNT, "CNI_NET_DIR": CNI_NET_MOUNT, "CNI_EXCLUDE_NAMESPACES": ",".join(excluded)}
    return [*made, *plain_env(own)]


def _volumes(values: NodeValues) -> list[Manifest]:
    places = {
        "isthmus-run": RUN_DIR,
        "netns": RUNTIME_NETNS_DIR,
        "cni-bin": values.cni_bin_dir,
        "cni-net": values.cni_net_dir,
        **({"ztunnel": ZTUNNEL_DIR} if values.ztunnel else {}),
    }
    own = [{"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in places.items()]
    return [*(volume for volume in volumes() if volume["name"] != "isthmus-data"), *own]
