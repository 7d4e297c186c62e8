"""`networking.istio.io` DestinationRules."""

from collections.abc import Mapping
from typing import Any

from isthmus.base.names import service_hostname
from isthmus.ingest.finding import Reader, Result, is_host
from isthmus.ingest.locality import locality_setting, spill_below
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.locality import LocalitySetting, Warmup
from isthmus.model.rows import ConnectionPool, DestinationRule, OutlierDetection, Subset, TrafficPolicy

TLS_MODES = ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
BALANCERS = ("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")

_SPEC = ("host", "trafficPolicy", "subsets", "exportTo", "workloadSelector")
_POLICY = ("tls", "loadBalancer", "outlierDetection", "connectionPool", "portLevelSettings")
_TLS = ("mode", "sni", "subjectAltNames")
_BALANCER = ("simple", "localityLbSetting", "warmup", "warmupDurationSecs")
_WARMUP = ("duration", "minimumPercent", "aggression")
_TCP = ("maxConnections", "connectTimeout", "idleTimeout")
_HTTP = ("http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries", "idleTimeout")
_OUTLIER = (
    "consecutive5xxErrors",
    "consecutiveErrors",
    "consecutiveGatewayErrors",
    "consecutiveLocalOriginFailures",
    "splitExternalLocalOriginErrors",
    "interval",
    "baseEjectionTime",
    "maxEjectionPercent",
    "minHealthPercent",
)


def destination_rule(place: Place, obj: objects.Custom) -> Result:
    """How clients treat a destination; the host is made fully qualified (a name without dots is of this namespace)."""
    read = Reader(place.cluster, "DestinationRule", obj)
    spec = read.mapping(obj.spec, "spec")
    read.set_aside(spec, "spec", _SPEC)
    if spec.get("workloadSelector"):
        # Without the selector the rule would hold for clients that it is not meant for.
        read.error("spec.workloadSelector", "is not supported", "Remove it, or keep the rule out of this mesh")
    row = DestinationRule(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        host=_host(read, place, obj, spec),
        policy=_policy(read, spec.get("trafficPolicy"), "spec.trafficPolicy"),
        subsets=_subsets(read, spec.get("subsets")),
        spill_below=spill_below(read, obj.metadata.annotations),
        export_to=read.strings(spec.get("exportTo"), "spec.exportTo"),
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _host(read: Reader, place: Place, obj: objects.Custom, spec: Mapping[str, Any]) -> str:
    host = read.text(spec.get("host"), "spec.host")
    if not host and not read.is_refused():
        read.error("spec.host", "is missing", "Name the service, such as reviews.prod.svc.cluster.local")
    elif host and not is_host(host):
        read.error("spec.host", f"{host!r} is no host name", "Write a DNS name, *.<name> or *")
    if "." in host or host == "*":
        return host.lower()
    return service_hostname(host.lower(), obj.metadata.namespace, place.domain)


def _subsets(read: Reader, value: Any) -> tuple[Subset, ...]:
    subsets: list[Subset] = []
    for i, item in enumerate(read.items(value, "spec.subsets")):
        field = f"spec.subsets[{i}]"
        part = read.mapping(item, field)
        name = read.text(part.get("name"), f"{field}.name")
        if not name:
            read.error(f"{field}.name", "is missing", "Give the subset a name")
        if name in (subset.name for subset in subsets):
            read.error(f"{field}.name", f"{name!r} is there twice", "Give every subset its own name")
        subsets.append(
            Subset(
                name=name,
                labels=read.labels(part.get("labels"), f"{field}.labels"),
                policy=_policy(read, part.get("trafficPolicy"), f"{field}.trafficPolicy"),
            )
        )
    return tuple(subsets)


def _policy(read: Reader, value: Any, field: str) -> TrafficPolicy | None:
    if value is None:
        return None
    part = read.mapping(value, field)
    read.set_aside(part, field, (*_POLICY, "port"))
    tls = read.mapping(part.get("tls"), f"{field}.tls")
    read.set_aside(tls, f"{field}.tls", _TLS)
    balancer = read.mapping(part.get("loadBalancer"), f"{field}.loadBalancer")
    read.set_aside(balancer, f"{field}.loadBalancer", _BALANCER)
    ports: list[tuple[int, TrafficPolicy]] = []
    for i, item in enumerate(read.items(part.get("portLevelSettings"), f"{field}.portLevelSettings")):
        at = f"{field}.portLevelSettings[{i}]"
        port = read.mapping(read.mapping(item, at).get("port"), f"{at}.port")
        if "number" not in port:
            read.error(f"{at}.port.number", "is missing", "Give the service's port")
        policy = _policy(read, item, at)
        if policy is not None:
            ports.append((read.port(port.get("number"), f"{at}.port.number"), policy))
    return TrafficPolicy(
        tls_mode=read.choice(tls.get("mode"), f"{field}.tls.mode", TLS_MODES),
        sni=read.text(tls.get("sni"), f"{field}.tls.sni"),
        subject_alt_names=read.strings(tls.get("subjectAltNames"), f"{field}.tls.subjectAltNames"),
        load_balancer=read.choice(balancer.get("simple"), f"{field}.loadBalancer.simple", BALANCERS),
        outlier_detection=outlier_detection(read, part.get("outlierDetection"), f"{field}.outlierDetection"),
        locality=_locality(read, balancer, f"{field}.loadBalancer.localityLbSetting"),
        warmup=warmup(read, balancer, f"{field}.loadBalancer"),
        connection_pool=_pool(read, part.get("connectionPool"), f"{field}.connectionPool"),
        port_policies=tuple(ports),
    )


def _locality(read: Reader, balancer: Mapping[str, Any], field: str) -> LocalitySetting | None:
    value = balancer.get("localityLbSetting")
    return None if value is None else locality_setting(read, value, field)


def warmup(read: Reader, balancer: Mapping[str, Any], field: str) -> Warmup | None:
    """`warmup`, or the older `warmupDurationSecs`, of what is around it; None if both are absent."""
    if "warmupDurationSecs" in balancer and "warmup" not in balancer:
        duration = read.seconds(balancer["warmupDurationSecs"], f"{field}.warmupDurationSecs")
        return Warmup(duration) if duration else None
    part = read.mapping(balancer.get("warmup"), f"{field}.warmup")
    read.set_aside(part, f"{field}.warmup", _WARMUP)
    duration = read.seconds(part.get("duration"), f"{field}.warmup.duration")
    if part and not duration and not read.is_refused():
        read.error(f"{field}.warmup.duration", "is missing", "Write how long an endpoint warms up, such as 30s")
    if not duration:
        return None
    minimum = read.number(part.get("minimumPercent"), f"{field}.warmup.minimumPercent", least=0, most=100)
    aggression = read.number(part.get("aggression"), f"{field}.warmup.aggression", least=1)
    return Warmup(duration, 10.0 if minimum is None else minimum, 1.0 if aggression is None else aggression)


def outlier_detection(read: Reader, value: Any, field: str) -> OutlierDetection | None:
    """`outlierDetection`, wherever it stands; None if it is absent."""
    if value is None:
        return None
    part = read.mapping(value, field)
    read.set_aside(part, field, _OUTLIER)
    errors = part.get("consecutive5xxErrors", part.get("consecutiveErrors"))
    local = "consecutiveLocalOriginFailures"
    split = "splitExternalLocalOriginErrors"
    return OutlierDetection(
        consecutive_5xx=read.natural(errors, f"{field}.consecutive5xxErrors"),
        consecutive_gateway_errors=read.natural(
            part.get("consecutiveGatewayErrors"), f"{field}.consecutiveGatewayErrors"
        ),
        consecutive_local_origin_failures=read.natural(part.get(local), f"{field}.{local}"),
        split_external_local_origin_errors=bool(read.typed(part.get(split), bool, f"{field}.{split}")),
        interval=read.seconds(part.get("interval"), f"{field}.interval"),
        base_ejection_time=read.seconds(part.get("baseEjectionTime"), f"{field}.baseEjectionTime"),
        max_ejection_percent=read.natural(part.get("maxEjectionPercent"), f"{field}.maxEjectionPercent", most=100),
        min_health_percent=read.natural(part.get("minHealthPercent"), f"{field}.minHealthPercent", most=100),
    )


def _pool(read: Reader, value: Any, field: str) -> ConnectionPool | None:
    if value is None:
        return None
    part = read.mapping(value, field)
    read.set_aside(part, field, ("tcp", "http"))
    tcp, http = read.mapping(part.get("tcp"), f"{field}.tcp"), read.mapping(part.get("http"), f"{field}.http")
    read.set_aside(tcp, f"{field}.tcp", _TCP)
    read.set_aside(http, f"{field}.http", _HTTP)

    def count(name: str, found: Mapping[str, Any], of: str) -> int | None:
        return read.natural(found.get(name), f"{field}.{of}.{name}")

    idle = "http" if "idleTimeout" in http else "tcp"
    return ConnectionPool(
        max_connections=count("maxConnections", tcp, "tcp"),
        connect_timeout=read.seconds(tcp.get("connectTimeout"), f"{field}.tcp.connectTimeout"),
        max_requests_per_connection=count("maxRequestsPerConnection", http, "http"),
        http1_max_pending_requests=count("http1MaxPendingRequests", http, "http"),
        http2_max_requests=count("http2MaxRequests", http, "http"),
        max_retries=count("maxRetries", http, "http"),
        idle_timeout=read.seconds((http if idle == "http" else tcp).get("idleTimeout"), f"{field}.{idle}.idleTimeout"),
    )
