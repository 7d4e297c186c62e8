"""`istio.v1.auth.IstioCertificateService`: signs a workload's key for the identity that its token proves (TR10)."""

import secrets
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import UnreachableError
from isthmus.edge.authenticate import Authenticator, UnauthenticatedError
from isthmus.edge.grpc_server import call_metadata
from isthmus.proto import ca_pb2
from isthmus.trust.authority import Authority, bounded_lifetime, workload_names
from isthmus.trust.caller import Caller
from isthmus.trust.constraints import permits, signers
from isthmus.trust.csr import public_key_of
from isthmus.trust.errors import CsrError, TrustError
from isthmus.trust.issue import Validity, serial_from

log = structlog.get_logger()

SERVICE = "istio.v1.auth.IstioCertificateService"
IMPERSONATED = "ImpersonatedIdentity"


class CertificateService:
    """Signs with the authority of the moment: `authority` is asked at each request, because it is replaced.

    `trust_domain_of` tells a cluster's trust domain; it raises UnreachableError while that is not known.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        clock: Clock,
        *,
        authenticator: Authenticator,
        trust_domain_of: Callable[[str], Awaitable[str]],
        longest: float,
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._authenticator = authenticator
        self._trust_domain_of = trust_domain_of
        self._longest = longest
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
            self._refuse_impersonation(request)
            return self._sign(request, caller, await self._trust_domain_of(caller.cluster))
        except UnauthenticatedError as error:
            code, text = grpc.StatusCode.UNAUTHENTICATED, str(error)
        except CsrError as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except PermissionError as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except UnreachableError as error:
            code, text = grpc.StatusCode.UNAVAILABLE, str(error)
        except TrustError as error:
            code, text = grpc.StatusCode.FAILED_PRECONDITION, str(error)
        log.info("certificate refused", peer=context.peer(), code=code.name, reason=text)
        await context.abort(code, text)
        raise AssertionError("abort raises")

    @staticmethod
    def _refuse_impersonation(request: ca_pb2.IstioCertificateRequest) -> None:
        """Nobody is trusted to ask for another's identity (TR11 is for node proxies, which do not exist here yet)."""
        wanted = request.metadata.fields.get(IMPERSONATED)
        if wanted is not None and wanted.string_value:
            raise PermissionError(f"this caller may not ask for a certificate of {wanted.string_value}")

    def _sign(
        self, request: ca_pb2.IstioCertificateRequest, caller: Caller, trust_domain: str
    ) -> ca_pb2.IstioCertificateResponse:
        key = public_key_of(request.csr)
        identity = caller.identity(trust_domain)
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
        log.info("certificate issued", identity=identity, cluster=caller.cluster, pod=caller.pod, seconds=int(lifetime))
        return ca_pb2.IstioCertificateResponse(cert_chain=issued.response_chain)
