"""`istio.v1.auth.IstioCertificateService`: signs a workload's key for the identity that its token proves (TR10), or
that of a pod on the caller's node, if the caller is that node's proxy (TR11)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import UnreachableError
from isthmus.base.names import SpiffeId
from isthmus.edge.authenticate import Authenticator, UnauthenticatedError
from isthmus.edge.grpc_server import call_metadata
from isthmus.proto import ca_pb2
from isthmus.trust.authority import Authority, bounded_lifetime, workload_names
from isthmus.trust.caller import Caller
from isthmus.trust.constraints import permits, signers
from isthmus.trust.csr import public_key_of
from isthmus.trust.errors import CsrError, TrustError
from isthmus.trust.impersonation import Account, ImpersonationError, Pods, UnseenError, impersonated
from isthmus.trust.issue import Validity, serial_from

log = structlog.get_logger()

SERVICE = "istio.v1.auth.IstioCertificateService"
IMPERSONATED = "ImpersonatedIdentity"

LOOK_AGAIN = 0.05
"""Seconds between looks for a pod that the caller knows of and we do not, yet."""


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """Who may ask for the identities of pods on its node, and the pods that were observed.

    A node learns of its new pod when we do: `patience` is how many seconds we wait to be told.
    """

    trusted: Collection[Account]
    pods: Pods
    patience: float = 1.0


class CertificateService:
    """Signs with the authority of the moment: `authority` is asked at each request, because it is replaced.

    `trust_domain_of` tells a cluster's trust domain; it raises UnreachableError while that is not known. `nodes` None:
    everybody gets its own identity only.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        clock: Clock,
        *,
        authenticator: Authenticator,
        trust_domain_of: Callable[[str], Awaitable[str]],
        longest: float,
        nodes: NodeAccess | None = None,
        on_issued: Callable[[str, float], None] = lambda holder, until: None,
    ) -> None:
        """`on_issued` is told who holds a new certificate in place of its last one, and when that ends."""
        self._on_issued = on_issued
        self._authority = authority
        self._clock = clock
        self._authenticator = authenticator
        self._trust_domain_of = trust_domain_of
        self._longest = longest
        self._nodes = nodes
        self.issued = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """The service to add to a gRPC server."""
        method = grpc.unary_unary_rpc_method_handler(
            self._create,
            request_deserializer=ca_pb2.IstioCertificateRequest.FromString,
            response_serializer=ca_pb2.IstioCertificateResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": method})

    async def _create(
        self,
        request: ca_pb2.IstioCertificateRequest,
        context: grpc.aio.ServicerContext[ca_pb2.IstioCertificateRequest, ca_pb2.IstioCertificateResponse],
    ) -> ca_pb2.IstioCertificateResponse:
        try:
            caller = await self._authenticator.authenticate(call_metadata(context))
            trust_domain = await self._trust_domain_of(caller.cluster)
            wanted = _impersonated_identity(request)
            identity = await self._as_another(caller, wanted, trust_domain) if wanted else caller.identity(trust_domain)
            return self._sign(request, caller, identity, trust_domain)
        except UnauthenticatedError as error:
            code, text = grpc.StatusCode.UNAUTHENTICATED, str(error)
        except CsrError as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except ImpersonationError as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except UnreachableError as error:
            code, text = grpc.StatusCode.UNAVAILABLE, str(error)
        except TrustError as error:
            code, text = grpc.StatusCode.FAILED_PRECONDITION, str(error)
        log.info("certificate refused", peer=context.peer(), code=code.name, reason=text)
        await context.abort(code, text)
        raise AssertionError("abort raises")

    async def _as_another(self, caller: Caller, wanted: str, trust_domain: str) -> SpiffeId:
        """The identity of a pod on the caller's node. Raises ImpersonationError."""
        if self._nodes is None:
            raise ImpersonationError(f"this caller may not ask for a certificate of {wanted}", "Ask for its own")
        nodes, looks = self._nodes, round(self._nodes.patience / LOOK_AGAIN)
        while True:
            try:
                return impersonated(caller, wanted, trust_domain, trusted=nodes.trusted, pods=nodes.pods)
            except UnseenError:
                if looks <= 0:
                    raise
            looks -= 1
            await asyncio.sleep(LOOK_AGAIN)

    def _sign(
        self, request: ca_pb2.IstioCertificateRequest, caller: Caller, identity: SpiffeId, trust_domain: str
    ) -> ca_pb2.IstioCertificateResponse:
        key = public_key_of(request.csr)
        authority = self._authority()
        if not permits(signers(authority), trust_domain):
            raise TrustError(
                f"this authority may not sign for trust domain {trust_domain} of cluster {caller.cluster}",
                "Ask the control plane whose authority is responsible for that cluster",
            )
        lifetime = bounded_lifetime(request.validity_duration, longest=self._longest)
        issued = authority.issue(
            key,
            workload_names(identity),
            validity=Validity(self._clock.now(), lifetime),
            serial=serial_from(secrets.token_bytes(19)),
        )
        self.issued += 1
        self._on_issued(f"{caller.cluster}/{caller.namespace}/{caller.pod}/{identity}", issued.not_after)
        log.info("certificate issued", identity=identity, cluster=caller.cluster, pod=caller.pod, seconds=int(lifetime))
        return ca_pb2.IstioCertificateResponse(cert_chain=issued.response_chain)


def _impersonated_identity(request: ca_pb2.IstioCertificateRequest) -> str:
    """Whose certificate is asked for; empty: the caller's own. Raises CsrError for what is no text."""
    found = request.metadata.fields.get(IMPERSONATED)
    if found is None:
        return ""
    if found.WhichOneof("kind") != "string_value":
        raise CsrError(f"{IMPERSONATED} is no text", "Send a SPIFFE ID")
    return found.string_value
