"""`networking.istio.io` Gateways."""

from typing import Any

from isthmus.ingest.finding import Reader, Result, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.rows import Gateway, GatewayServer

PROTOCOLS = ("HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO")
TLS_MODES = (
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
)
_NEEDS_TLS = ("HTTPS", "TLS")


def gateway(place: Place, obj: objects.Custom) -> Result:
    """What a gateway listens on and for which hosts (SN3, SN4)."""
    read = Reader(place.cluster, "Gateway", obj)
    spec = read.mapping(obj.spec, "spec")
    found = read.items(spec.get("servers"), "spec.servers")
    if not found and not read.is_refused():
        read.error("spec.servers", "is empty", "List at least one server with port and hosts")
    row = Gateway(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        selector=read.labels(spec.get("selector"), "spec.selector"),
        servers=tuple(_server(read, value, f"spec.servers[{i}]") for i, value in enumerate(found)),
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _server(read: Reader, value: Any, field: str) -> GatewayServer:
    server = read.mapping(value, field)
    port = read.mapping(server.get("port"), f"{field}.port")
    protocol = read.choice(port.get("protocol"), f"{field}.port.protocol", PROTOCOLS)
    number = read.port(port.get("number"), f"{field}.port.number")
    if "number" not in port:
        read.error(f"{field}.port.number", "is missing", "Give the port that the gateway listens on")
    if "protocol" not in port:
        read.error(f"{field}.port.protocol", "is missing", f"Use one of {', '.join(PROTOCOLS)}")
    tls = read.mapping(server.get("tls"), f"{field}.tls")
    mode = read.choice(tls.get("mode"), f"{field}.tls.mode", TLS_MODES)
    if protocol in _NEEDS_TLS and not tls:
        read.error(f"{field}.tls", f"is missing for protocol {protocol}", "Say how TLS is handled: tls.mode")
    return GatewayServer(
        port=number,
        protocol=protocol,
        hosts=_hosts(read, server.get("hosts"), f"{field}.hosts"),
        tls_mode=mode or ("SIMPLE" if tls and not tls.get("httpsRedirect") else ""),
        credential_name=read.text(tls.get("credentialName"), f"{field}.tls.credentialName"),
        name=read.text(server.get("name"), f"{field}.name"),
    )


def _hosts(read: Reader, value: Any, field: str) -> tuple[str, ...]:
    """Hosts without their namespace part, which does not restrict what is exposed (SN4)."""
    hosts = read.strings(value, field)
    if not hosts:
        read.error(field, "is empty", "List the hosts that this server is for, such as *.local")
    bare = tuple(host.rpartition("/")[2] for host in hosts)
    for host in bare:
        if not is_host(host):
            read.error(field, f"{host!r} is no host name", "Write a DNS name, *.<name> or *")
    return bare
