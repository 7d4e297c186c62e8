"""What `isthmus install` installs by profile: options as given -> manifests. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from isthmus.base.errors import UsageError
from isthmus.ingest.finding import is_host
from isthmus.install.manifests import control_plane, east_west_gateway, node_proxy, remote
from isthmus.install.node import CNI_BIN_DIR, CNI_NET_DIR, NodeValues
from isthmus.install.values import (
    XDS_PORT,
    ControlPlaneValues,
    GatewayValues,
    Images,
    Manifest,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
    Scaling,
)


class Profile(StrEnum):
    """What a cluster is to the mesh."""

    PRIMARY = "primary"
    REMOTE = "remote"
    EXTERNAL = "external"
    GATEWAY = "gateway"
    AMBIENT = "ambient"


class Gateway(StrEnum):
    """Values of `--gateway`."""

    NONE = "none"
    EAST_WEST = "eastwest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options, checked one by one. `served_by` as written: `<name>=<address>[,<address>]`."""

    profile: Profile
    mesh: MeshValues
    name: str = ""
    served_by: Sequence[str] = ()
    config_cluster: str = ""
    config: bool = False
    injection_url: str = ""
    custom_hosts: Sequence[str] = ()
    crds: bool = True
    gateway_api: bool = False
    scaling: Scaling = field(default_factory=Scaling)
    gateway: Gateway = Gateway.NONE
    gateway_scaling: Scaling = field(default_factory=Scaling)
    expose: Sequence[str] = ()
    expose_control_plane: bool = False
    global_names: bool = False
    pod_annotations: Sequence[str] = ()
    service_annotations: Sequence[str] = ()
    cni_bin_dir: str = ""
    cni_net_dir: str = ""
    ztunnel: bool = False


def manifests_of(wanted: Wanted) -> list[Manifest]:
    """Everything that these options ask for. Raises UsageError for what would not work, with the remedy."""
    _check(wanted)
    if wanted.profile is Profile.GATEWAY:
        return _gateway(wanted)
    if wanted.profile is Profile.AMBIENT:
        return node_proxy(_node_values(wanted))
    wanted = replace(wanted, mesh=_with_sources(wanted))
    made = _remote(wanted) if wanted.profile is Profile.REMOTE else _control_plane(wanted)
    return [*made, *_gateway(wanted)] if wanted.gateway is Gateway.EAST_WEST else made


def _check(wanted: Wanted) -> None:
    """Options that mean nothing in the profile would seem to have an effect: they are refused."""
    profile = wanted.profile
    only = {
        "--cni-bin-dir": (wanted.cni_bin_dir, {Profile.AMBIENT}),
        "--cni-net-dir": (wanted.cni_net_dir, {Profile.AMBIENT}),
        "--ztunnel": (wanted.ztunnel, {Profile.AMBIENT}),
        "--gateway": (wanted.gateway is Gateway.EAST_WEST, set(Profile) - {Profile.AMBIENT}),
        "--config-cluster": (wanted.config_cluster, {Profile.EXTERNAL}),
        "--config": (wanted.config, {Profile.REMOTE}),
        "--injection-url": (wanted.injection_url, {Profile.REMOTE}),
        "--served-by": (wanted.served_by, {Profile.REMOTE, Profile.PRIMARY}),
        "--name": (wanted.name, {Profile.PRIMARY, Profile.EXTERNAL}),
        "--custom-host": (wanted.custom_hosts, {Profile.PRIMARY, Profile.EXTERNAL}),
        "--expose-control-plane": (wanted.expose_control_plane, {Profile.PRIMARY, Profile.GATEWAY}),
    }
    for option, (given, profiles) in only.items():
        if given and profile not in profiles:
            fitting = " or ".join(sorted(profiles))
            raise UsageError(f"{option} has no meaning in profile {profile}", f"It is for profile {fitting}")
    if profile is Profile.REMOTE and not wanted.served_by:
        raise UsageError(
            "a remote cluster needs a control plane elsewhere", "Add --served-by <its cluster>=<its gateway's address>"
        )
    if profile is Profile.EXTERNAL and not wanted.config_cluster:
        raise UsageError(
            "an external control plane reads its configuration in another cluster", "Name it: --config-cluster <name>"
        )
    if wanted.expose_control_plane and profile is Profile.PRIMARY and wanted.gateway is Gateway.NONE:
        raise UsageError("--expose-control-plane needs a gateway", "Add --gateway eastwest")


def _control_plane(wanted: Wanted) -> list[Manifest]:
    external = wanted.profile is Profile.EXTERNAL
    values = ControlPlaneValues(
        mesh=wanted.mesh,
        name=wanted.name,
        others=_planes(wanted.served_by),
        config_cluster=wanted.config_cluster,
        custom_hosts=tuple(wanted.custom_hosts),
        service_type="LoadBalancer" if external else "ClusterIP",
        scaling=wanted.scaling,
        crds=wanted.crds,
        gateway_api_crds=wanted.gateway_api,
    )
    if external:
        pods, service = _annotations(wanted)
        values = replace(values, pod_annotations=pods, service_annotations=service)
    return control_plane(values)


def _remote(wanted: Wanted) -> list[Manifest]:
    planes = _planes(wanted.served_by)
    values = RemoteValues(
        mesh=wanted.mesh,
        control_planes=(replace(planes[0], injects=True), *planes[1:]),
        injection_url=wanted.injection_url,
        config=wanted.config,
        crds=wanted.crds,
        gateway_api_crds=wanted.gateway_api,
    )
    return remote(values)


def _node_values(wanted: Wanted) -> NodeValues:
    """The proxies of nodes turn to the Service istiod of their cluster."""
    for option, path in (("--cni-bin-dir", wanted.cni_bin_dir), ("--cni-net-dir", wanted.cni_net_dir)):
        if path and not path.startswith("/"):
            raise UsageError(f"{option}: {path!r} is no absolute path", "Write it from / on")
    return NodeValues(
        mesh=wanted.mesh,
        cni_bin_dir=wanted.cni_bin_dir or CNI_BIN_DIR,
        cni_net_dir=wanted.cni_net_dir or CNI_NET_DIR,
        ztunnel=wanted.ztunnel,
    )


def _with_sources(wanted: Wanted) -> MeshValues:
    """The mesh with the Services of all control planes as sources of its proxies; istiod alone needs not be said.

    The Service istiod is the cluster's own control plane, or in a remote the first of the others.
    """
    mesh, planes = wanted.mesh, _planes(wanted.served_by)
    others = planes[1:] if wanted.profile is Profile.REMOTE else planes
    if not others:
        return mesh
    services = ["istiod", *(f"istiod-{plane.name}" for plane in others)]
    return replace(mesh, discovery=tuple(f"{name}.{mesh.namespace}.svc:{XDS_PORT}" for name in services))


def _planes(texts: Sequence[str]) -> tuple[RemoteControlPlane, ...]:
    """Control planes as `<name>=<address>[,<address>]`; the name is that of their cluster."""
    found = []
    for text in texts:
        name, _, addresses = text.partition("=")
        listed = tuple(filter(None, (address.strip() for address in addresses.split(","))))
        if not name or not listed:
            raise UsageError(f"--served-by: {text!r} is not <name>=<address>", "Write --served-by east=203.0.113.7")
        found.append(RemoteControlPlane(name=checked_name(name, "--served-by"), addresses=listed))
    if len({plane.name for plane in found}) != len(found):
        raise UsageError("--served-by: the same control plane is there twice", "List its addresses with commas")
    return tuple(found)


def _gateway(wanted: Wanted) -> list[Manifest]:
    mesh = wanted.mesh
    if not mesh.network:
        raise UsageError("an east-west gateway needs the name of its network", "Add --network <name>")
    pods, service = _annotations(wanted)
    values = GatewayValues(
        mesh=mesh,
        scaling=wanted.gateway_scaling,
        pod_annotations=pods,
        service_annotations=service,
        # What a gateway lets in is configuration, which only config clusters hold.
        expose=wanted.profile is not Profile.REMOTE or wanted.config,
        expose_control_plane=wanted.expose_control_plane,
        global_names=wanted.global_names,
    )
    return east_west_gateway(replace(values, hosts=_hosts(wanted.expose)) if wanted.expose else values)


def _annotations(wanted: Wanted) -> tuple[dict[str, str], dict[str, str]]:
    """Of the pods and of the Service that is reached from outside."""
    pods = _pairs(wanted.pod_annotations, "--pod-annotation")
    return pods, _pairs(wanted.service_annotations, "--service-annotation")


def _hosts(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        if not is_host(text):
            raise UsageError(
                f"--expose: {text!r} is no host", "Write one such as web.shop.svc.cluster.local or *.local"
            )
    return tuple(texts)


def checked_name(text: str, option: str) -> str:
    """Names go into labels and, for clusters, into URLs."""
    if not text.replace("-", "").replace(".", "").replace("_", "").isalnum() or len(text) > 63:
        raise UsageError(
            f"{option}: {text!r} is no name", "Use letters, digits, '-', '.' and '_', at most 63 characters"
        )
    return text


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{option}: {text!r} is not key=value", f"Write {option} key=value")
    return dict(text.split("=", 1) for text in texts)


def images(hub: str, tag: str) -> Images:
    """Where the images are: `<hub>/pilot:<tag>` and its like."""
    base, end = hub.rstrip("/"), f":{tag}" if tag else ""
    return Images(
        pilot=f"{base}/pilot{end}", proxy=f"{base}/proxy{end}", init=f"{base}/init{end}", node=f"{base}/node{end}"
    )
