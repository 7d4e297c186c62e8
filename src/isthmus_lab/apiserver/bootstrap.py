"""What a cluster has from its first second: keys and tokens, namespaces, the kubernetes Service, default roles."""

from __future__ import annotations

import base64
import ipaddress
import secrets as random_secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from isthmus_lab.apiserver import pki, roles
from isthmus_lab.apiserver.objects import JsonObject, timestamp
from isthmus_lab.apiserver.resources import split_api_version
from isthmus_lab.apiserver.schema import apply_defaults
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.strategy import defaults

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys and tokens; made once, kept in the store."""

    authority: pki.KeyPair
    signing_key: bytes  # PEM
    admin_token: str
    system_token: str


def secrets(state: State) -> Secrets:
    store = state.store
    if store.setting("ca.key") is None:
        authority = pki.new_authority(
            f"{state.settings.cluster}-ca", state.clock(), serial=state.rng.getrandbits(120) + 1
        )
        store.save_setting("ca.crt", authority.certificate)
        store.save_setting("sa.key", pki.key_pem(pki.new_key()))
        store.save_setting("admin.token", random_secrets.token_urlsafe(32).encode())
        store.save_setting("system.token", random_secrets.token_urlsafe(32).encode())
        store.save_setting("ca.key", authority.key)  # last: its presence says that all are there

    def load(key: str) -> bytes:
        found = store.setting(key)
        assert found is not None
        return found

    return Secrets(
        pki.KeyPair(load("ca.key"), load("ca.crt")),
        load("sa.key"),
        load("admin.token").decode(),
        load("system.token").decode(),
    )


def first_address(cidr: str) -> str:
    """The .1 of a range: the kubernetes Service's address."""
    return str(next(ipaddress.ip_network(cidr).hosts()))


def put(state: State, obj: JsonObject, *, overwrite: bool = False) -> None:
    """Stores an object of the server's own; leaves an existing one alone unless `overwrite`."""
    group, version = split_api_version(obj["apiVersion"])
    resource = state.registry.by_kind(group, obj["kind"])
    assert resource is not None
    metadata = obj["metadata"]
    old = state.store.get(resource.storage, metadata.get("namespace", ""), metadata["name"])
    if old is not None and not overwrite:
        return
    apply_defaults(obj, resource.versions[version].schema)
    defaults(resource, obj)
    if old is None:
        metadata |= {"uid": state.new_uid(), "creationTimestamp": timestamp(state.clock())}
        state.store.create(resource.storage, obj)
        return
    metadata |= {key: old.obj["metadata"][key] for key in ("uid", "creationTimestamp") if key in old.obj["metadata"]}
    metadata["resourceVersion"] = old.obj["metadata"]["resourceVersion"]
    if obj != old.obj:
        state.store.update(resource.storage, obj, old)


def objects(state: State) -> None:
    """Stores what is missing; what depends on the command line is brought up to date."""
    for name in NAMESPACES:
        put(state, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for role in roles.DEFAULTS:
        put(state, role())
    _kubernetes_service(state)
    _cluster_info(state)


def _kubernetes_service(state: State) -> None:
    settings = state.settings
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "clusterIP": first_address(settings.service_cidr),
            "clusterIPs": [first_address(settings.service_cidr)],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
        },
    }
    url = urlsplit(settings.advertise_network)
    port = url.port or 443
    service["spec"]["ports"][0]["targetPort"] = port
    put(state, service, overwrite=True)
    if not url.hostname:
        return
    endpoints: JsonObject = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
            "generation": 1,
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [url.hostname], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    put(state, endpoints, overwrite=True)


def _cluster_info(state: State) -> None:
    """kube-public/cluster-info: how to reach this cluster from outside, readable by anybody (as kubeadm does)."""
    authority = state.store.setting("ca.crt") or b""
    server = state.settings.advertise or state.settings.advertise_network
    if not server:
        return
    kubeconfig = cluster_kubeconfig(server, authority)
    metadata = {"name": "cluster-info", "namespace": "kube-public"}
    put(
        state,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"kubeconfig": kubeconfig}},
        overwrite=True,
    )


def cluster_kubeconfig(server: str, authority: bytes) -> str:
    import yaml

    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": cluster}],
        "contexts": [],
        "current-context": "",
        "preferences": {},
        "users": [],
    }
    return yaml.safe_dump(document, sort_keys=False)


def admin_kubeconfig(name: str, server: str, *, authority: bytes, token: str) -> str:
    """Cluster, context and user all have the cluster's name."""
    import yaml

    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
        "users": [{"name": name, "user": {"token": token}}],
    }
    return yaml.safe_dump(document, sort_keys=False)
