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
_OWN_CERTIFICATE = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")


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
        servers=tuple(
            _server(read, value, f"spec.servers[{i}]", obj.metadata.namespace) for i, value in enumerate(found)
        ),
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _server(read: Reader, value: Any, field: str, namespace: str) -> GatewayServer:
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
    made = GatewayServer(
        port=number,
        protocol=protocol,
        hosts=_hosts(read, server.get("hosts"), f"{field}.hosts"),
        tls_mode=mode or ("SIMPLE" if tls and protocol in _NEEDS_TLS else ""),
        credential_name=read.text(tls.get("credentialName"), f"{field}.tls.credentialName"),
        name=read.text(port.get("name"), f"{field}.port.name") or read.text(server.get("name"), f"{field}.name"),
        binds=_binds(server.get("hosts"), namespace),
        redirects=bool(read.typed(tls.get("httpsRedirect"), bool, f"{field}.tls.httpsRedirect")),
        certificate_file=read.text(tls.get("serverCertificate"), f"{field}.tls.serverCertificate"),
        key_file=read.text(tls.get("privateKey"), f"{field}.tls.privateKey"),
        ca_file=read.text(tls.get("caCertificates"), f"{field}.tls.caCertificates"),
        subject_alt_names=read.strings(tls.get("subjectAltNames"), f"{field}.tls.subjectAltNames"),
    )
    _certificates(read, made, field)
    if made.tls_mode == "AUTO_PASSTHROUGH" and set(made.binds) - {"*"}:
        remedy = "Write *.<namespace>.svc.cluster.local, or say by exportTo which services the gateway may expose"
        read.warn(f"{field}.hosts", "the namespace of a host does not restrict what AUTO_PASSTHROUGH exposes", remedy)
    return made


def _certificates(read: Reader, server: GatewayServer, field: str) -> None:
    """A server that ends TLS without a certificate does not listen: said, and the other servers count."""
    if read.is_refused() or server.protocol not in _NEEDS_TLS or server.tls_mode not in _OWN_CERTIFICATE:
        return
    remedy = "Mount the files into the gateway and name them: tls.serverCertificate, tls.privateKey"
    if server.credential_name:
        read.warn(f"{field}.tls.credentialName", "is not served yet, so this server stays closed", remedy)
    elif not (server.certificate_file and server.key_file):
        read.warn(f"{field}.tls", "names no certificate, so this server stays closed", remedy)
    elif server.tls_mode != "SIMPLE" and not server.ca_file:
        remedy = "Name the file of the clients' authority: tls.caCertificates"
        read.warn(f"{field}.tls.caCertificates", "is missing, so this server stays closed", remedy)


def _binds(value: Any, namespace: str) -> tuple[str, ...]:
    """The namespace part of each host; nothing if none has one. `.` is the Gateway's own."""
    hosts = [host for host in value if isinstance(host, str)] if isinstance(value, list) else []
    places = tuple(host.rpartition("/")[0] or "*" for host in hosts)
    return tuple(namespace if place == "." else place for place in places) if set(places) != {"*"} else ()


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
