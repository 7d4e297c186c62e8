"""ConfigMap `istio` of the system namespace: the mesh's configuration, and the trust domain of the cluster it is in."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import yaml

from isthmus.ingest.destination_rule import outlier_detection, warmup
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.locality import locality_setting
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.mesh_config import (
    MeshConfig,
    MeshNetworks,
    NetworkDefinition,
    NetworkEntry,
    Requirement,
    ScopeSelector,
    Selector,
    ServiceSetting,
)
from isthmus.model.rows import Cluster, Row

CONFIG_MAP = "istio"
DATA_KEY = "mesh"
NETWORKS_KEY = "meshNetworks"

_MODES = ("ALLOW_ANY", "REGISTRY_ONLY")
_SCOPES = ("LOCAL", "GLOBAL")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NAME_IT = "Write <name>.<namespace>.svc.<domain>"


def mesh_config(place: Place, obj: objects.ConfigMap) -> Result:
    """The cluster with its trust domain (TR6), the mesh's settings, its networks. Each is refused as a whole.

    Whoever reads the cluster adds what else is known of it. Settings count where this is the config cluster (CL5).
    """
    read = Reader(place.cluster, "ConfigMap", obj)
    if obj.metadata.name != CONFIG_MAP:
        return (), ()
    mesh = _document(read, obj, DATA_KEY)
    where = f"data.{DATA_KEY}"
    rows: list[Row] = []
    trust_domain = read.text(mesh.get("trustDomain"), f"{where}.trustDomain")
    aliases = read.strings(mesh.get("trustDomainAliases"), f"{where}.trustDomainAliases")
    for field, names in (("trustDomain", (trust_domain,)), ("trustDomainAliases", aliases)):
        for name in names:
            if name and not is_host(name):
                read.error(f"{where}.{field}", f"{name!r} is no trust domain", "Use letters, digits, - and .")
    if trust_domain:
        rows.append(Cluster(cluster=place.cluster, name=place.cluster, trust_domain=trust_domain))
    settings = _settings(read, place, mesh, aliases)
    if settings != MeshConfig(cluster=place.cluster, name=CONFIG_MAP):
        rows.append(settings)
    networks = _networks(read, _document(read, obj, NETWORKS_KEY))
    if networks:
        rows.append(MeshNetworks(cluster=place.cluster, name=CONFIG_MAP, networks=networks))
    return read.result(*rows)


def trust_domain_in(text: str) -> str:
    """The trust domain that the text of key `mesh` names; empty if it names none, or is broken."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return ""
    found = document.get("trustDomain") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def _document(read: Reader, obj: objects.ConfigMap, key: str) -> dict[str, Any]:
    text = (obj.data or {}).get(key, "")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        read.error(f"data.{key}", f"is no YAML{place}", "Correct the YAML of the mesh configuration")
        return {}
    return read.mapping(document, f"data.{key}")


def _settings(read: Reader, place: Place, mesh: dict[str, Any], aliases: tuple[str, ...]) -> MeshConfig:
    where = f"data.{DATA_KEY}"
    policy = read.mapping(mesh.get("outboundTrafficPolicy"), f"{where}.outboundTrafficPolicy")
    mode = read.choice(policy.get("mode"), f"{where}.outboundTrafficPolicy.mode", _MODES)

    def strings(name: str) -> tuple[str, ...]:
        return read.strings(mesh.get(name), f"{where}.{name}")

    return MeshConfig(
        cluster=place.cluster,
        name=CONFIG_MAP,
        allow_any=mode == "ALLOW_ANY" if mode else None,
        trust_domain_aliases=aliases,
        service_settings=tuple(
            _service_setting(read, item, f"{where}.serviceSettings[{i}]")
            for i, item in enumerate(read.items(mesh.get("serviceSettings"), f"{where}.serviceSettings"))
        ),
        default_service_export_to=strings("defaultServiceExportTo"),
        default_virtual_service_export_to=strings("defaultVirtualServiceExportTo"),
        default_destination_rule_export_to=strings("defaultDestinationRuleExportTo"),
        locality=locality_setting(read, mesh.get("localityLbSetting"), f"{where}.localityLbSetting"),
        outlier_detection=outlier_detection(read, mesh.get("outlierDetection"), f"{where}.outlierDetection"),
        warmup=warmup(read, mesh, where),
        discovery_selectors=tuple(
            _selector(read, item, f"{where}.discoverySelectors[{i}]")
            for i, item in enumerate(read.items(mesh.get("discoverySelectors"), f"{where}.discoverySelectors"))
        ),
        global_services=tuple(_global_services(read, mesh.get("serviceScopeConfigs"), f"{where}.serviceScopeConfigs")),
    )


def _global_services(read: Reader, value: Any, field: str) -> Iterator[ScopeSelector]:
    """The entries of scope GLOBAL; an absent selector selects everything (AM2)."""
    for i, one in enumerate(read.items(value, field)):
        at = f"{field}[{i}]"
        item = read.mapping(one, at)
        scope = read.choice(item.get("scope"), f"{at}.scope", _SCOPES)
        namespaces = _selector(read, item.get("namespaceSelector"), f"{at}.namespaceSelector")
        services = _selector(read, item.get("servicesSelector"), f"{at}.servicesSelector")
        if scope == "GLOBAL":
            yield ScopeSelector(namespaces, services)


def _service_setting(read: Reader, value: Any, field: str) -> ServiceSetting:
    item = read.mapping(value, field)
    hosts = tuple(host.lower() for host in read.strings(item.get("hosts"), f"{field}.hosts"))
    for host in hosts:
        if not is_host(host):
            read.error(f"{field}.hosts", f"{host!r} is no host name", "Write a DNS name, *.<name> or *")
    settings = read.mapping(item.get("settings"), f"{field}.settings")
    local = read.typed(settings.get("clusterLocal"), bool, f"{field}.settings.clusterLocal")
    return ServiceSetting(hosts, bool(local))


def _selector(read: Reader, value: Any, field: str) -> Selector:
    item = read.mapping(value, field)
    expressions: list[Requirement] = []
    for i, one in enumerate(read.items(item.get("matchExpressions"), f"{field}.matchExpressions")):
        at = f"{field}.matchExpressions[{i}]"
        part = read.mapping(one, at)
        operator = read.choice(part.get("operator"), f"{at}.operator", _OPERATORS)
        name = read.text(part.get("key"), f"{at}.key")
        if (not operator or not name) and not read.is_refused():
            read.error(at, "needs key and operator", f"Use one of {', '.join(_OPERATORS)}")
        expressions.append(Requirement(name, operator, read.strings(part.get("values"), f"{at}.values")))
    return Selector(read.labels(item.get("matchLabels"), f"{field}.matchLabels"), tuple(expressions))


def _networks(read: Reader, document: dict[str, Any]) -> tuple[NetworkDefinition, ...]:
    """In the order of names; two networks that claim a cluster are told, the first has it (NW3)."""
    where = f"data.{NETWORKS_KEY}.networks"
    found = read.mapping(document.get("networks"), where)
    networks = tuple(_network(read, str(name), found[name], f"{where}.{name}") for name in sorted(found, key=str))
    owner: dict[str, str] = {}
    for network in networks:
        for registry in network.registries:
            first = owner.setdefault(registry, network.name)
            if first != network.name:
                message = f"cluster {registry} is in network {first} already; that counts"
                read.warn(f"{where}.{network.name}.endpoints", message, "Name every cluster in one network only")
    return networks


def _network(read: Reader, name: str, value: Any, field: str) -> NetworkDefinition:
    network = read.mapping(value, field)
    registries: list[str] = []
    cidrs: list[str] = []
    for i, item in enumerate(read.items(network.get("endpoints"), f"{field}.endpoints")):
        at = f"{field}.endpoints[{i}]"
        part = read.mapping(item, at)
        registry, cidr = read.text(part.get("fromRegistry"), f"{at}.fromRegistry"), _cidr(read, part, at)
        if not registry and not cidr and not read.is_refused():
            read.error(at, "is empty", "Give fromRegistry (a cluster) or fromCidr (an address range)")
        registries += [registry] if registry else []
        cidrs += [cidr] if cidr else []
    gateways = tuple(
        _entry(read, item, f"{field}.gateways[{i}]")
        for i, item in enumerate(read.items(network.get("gateways"), f"{field}.gateways"))
    )
    return NetworkDefinition(name, tuple(registries), tuple(cidrs), gateways)


def _cidr(read: Reader, part: dict[str, Any], field: str) -> str:
    text = read.text(part.get("fromCidr"), f"{field}.fromCidr")
    try:
        return str(ip_network(text, strict=False)) if text else ""
    except ValueError:
        read.error(f"{field}.fromCidr", f"{text!r} is no address range", "Write it as 10.10.0.0/16")
        return ""


def _entry(read: Reader, value: Any, field: str) -> NetworkEntry:
    item = read.mapping(value, field)
    address = read.text(item.get("address"), f"{field}.address")
    service = read.text(item.get("registryServiceName"), f"{field}.registryServiceName")
    port = read.port(item.get("port"), f"{field}.port")
    if bool(address) == bool(service) and not read.is_refused():
        read.error(field, "needs either address or registryServiceName", "Say how the gateway is found")
    if not port and not read.is_refused():
        read.error(f"{field}.port", "is missing", "Give the port that takes mutual TLS, usually 15443")
    if address and not is_address(address) and not is_host(address):
        read.error(f"{field}.address", f"{address!r} is no address", "Write an IP address or a DNS name")
    if service and (service.count(".") < 2 or not is_host(service)):
        read.error(f"{field}.registryServiceName", f"{service!r} names no Service", _NAME_IT)
    return NetworkEntry(port, address, service.lower())
