"""Asks a certificate authority for a certificate: `istio.v1.auth.IstioCertificateService` (semantics §2.3)."""

import grpc
import grpc.aio

from isthmus.base.errors import UnreachableError
from isthmus.edge.control_plane import Upstream
from isthmus.proto import ca_pb2

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
IMPERSONATED = "ImpersonatedIdentity"

DEADLINE = 5.0
"""Seconds for one address; while a pod starts, a try that hangs delays it."""


async def request_certificate(upstream: Upstream, *, csr: str, ttl: float, impersonated: str = "") -> list[str]:
    """PEM chain for a PEM request: the leaf first, then intermediates, the root(s) last (TR10).

    `impersonated`: the identity is that of a workload which the caller serves as the proxy of its node (TR11).
    Tries each address once. Raises UnreachableError that says what each of them answered.
    """
    request = ca_pb2.IstioCertificateRequest(csr=csr, validity_duration=int(ttl))
    if impersonated:
        request.metadata.fields[IMPERSONATED].string_value = impersonated
    failures = []
    for target in await upstream.targets():
        try:
            chain = await _ask(upstream, target.address, request)
        except grpc.aio.AioRpcError as error:
            failures.append(f"{target.address}: {error.code().name}: {error.details()}")
            continue
        if len(chain) >= 2:
            return chain
        failures.append(f"{target.address}: answered {len(chain)} certificates, not a leaf and its root")
    raise UnreachableError(f"no certificate: {'; '.join(failures)}", "See the control plane's log")


async def _ask(upstream: Upstream, target: str, request: ca_pb2.IstioCertificateRequest) -> list[str]:
    async with upstream.channel(target) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
            response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
        )
        response = await call(request, metadata=upstream.metadata(), timeout=DEADLINE)
    return list(response.cert_chain)
