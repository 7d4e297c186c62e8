"""The certificate service over TLS on loopback, as an agent calls it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from isthmus.base.errors import UnreachableError
from isthmus.edge.authenticate import POD_NAME, POD_UID, Authenticator
from isthmus.edge.ca_server import SERVICE, CertificateService, NodeAccess
from isthmus.edge.grpc_server import BindError, ServingCertificate, bind, make_server
from isthmus.model.rows import Workload
from isthmus.proto import ca_pb2
from isthmus.trust.authority import Authority, from_secret, secret_data, server_names
from isthmus.trust.issue import DAY, Validity, make_intermediate, make_root
from isthmus.trust.pem import key_to_pem, load_certificates, new_key, public_bytes

NOW = 1_800_000_000.0
HOST = "istiod.istio-system.svc"


@dataclass
class Clock:
    time: float = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Reviewer:
    config_cluster = "east"

    def clusters(self) -> tuple[str, ...]:
        return ("east", "west")

    async def review(self, cluster: str, token: str, audience: str) -> Mapping[str, Any]:
        user = {"username": f"system:serviceaccount:{token}", "extra": {POD_NAME: ["ztunnel-1"], POD_UID: ["u1"]}}
        return {"authenticated": token.count(":") == 1, "audiences": [audience], "user": user}

    async def signing_keys(self, cluster: str) -> Mapping[str, Any]:
        return {"keys": []}


def authority(*trust_domains: str) -> Authority:
    """An intermediate under a root that are valid in the real present, too, because TLS asks the machine's clock."""
    root = make_root(new_key(), now=0.0, serial=1, lifetime=1000 * 365 * DAY)
    life = 900 * 365 * DAY
    east = make_intermediate(
        root, new_key(), now=0.0, serial=2, cluster="east", lifetime=life, trust_domains=trust_domains
    )
    return from_secret(secret_data(east, b"", root.certificate), now=NOW)


def serving(signer: Authority, serial: int) -> tuple[bytes, bytes]:
    key = new_key()
    validity = Validity(0.0, 800 * 365 * DAY)
    issued = signer.issue(key.public_key(), server_names([HOST]), validity=validity, serial=serial)
    return key_to_pem(key), issued.presented


@dataclass
class Pods:
    """What was observed; `looks` counts how often somebody looked for the pods of a node."""

    rows: list[Workload] = field(default_factory=list)
    looks: int = 0
    arriving: list[Workload] = field(default_factory=list)

    def pod(self, cluster: str, namespace: str, name: str) -> Workload | None:
        return next((row for row in self.rows if row.key == (cluster, namespace, name)), None)

    def pods_on(self, cluster: str, node: str) -> list[Workload]:
        self.looks += 1
        found = [row for row in self.rows if (row.cluster, row.node) == (cluster, node)]
        self.rows += self.arriving
        self.arriving = []
        return found


def pod(name: str, account: str, *, namespace: str = "sample", node: str = "n1", cluster: str = "east") -> Workload:
    return Workload(cluster=cluster, namespace=namespace, name=name, uid="u1", service_account=account, node=node)


def ztunnel(cluster: str) -> Workload:
    return pod("ztunnel-1", "ztunnel", namespace="istio-system", cluster=cluster)


@dataclass
class Bench:
    signer: Authority = field(default_factory=authority)
    clock: Clock = field(default_factory=Clock)
    key: Any = field(default_factory=new_key)
    port: int = 0
    trust_domains: dict[str, str] = field(default_factory=lambda: {"east": "cluster.local", "west": "west.example"})
    pods: Pods = field(default_factory=lambda: Pods([ztunnel("east"), ztunnel("west")]))

    async def trust_domain_of(self, cluster: str) -> str:
        if cluster not in self.trust_domains:
            raise UnreachableError(f"the trust domain of cluster {cluster} is not known", "Try again")
        return self.trust_domains[cluster]

    def csr(self) -> str:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        names = [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/kube-system/sa/admin")]
        signed = builder.add_extension(x509.SubjectAlternativeName(names), critical=True).sign(
            self.key, hashes.SHA256()
        )
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    async def create(
        self, token: str = "sample:sleep", csr: str | None = None, *, cluster: str = "east", **fields: Any
    ) -> list[str]:
        credentials = grpc.ssl_channel_credentials(self.signer.root_bundle)
        options = (("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            method = channel.unary_unary(
                f"/{SERVICE}/CreateCertificate",
                request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
                response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
            )
            metadata = (("authorization", f"Bearer {token}"), ("clusterid", cluster))
            request = ca_pb2.IstioCertificateRequest(csr=self.csr() if csr is None else csr, **fields)
            response = await method(request, metadata=metadata)
        return list(response.cert_chain)


def run(scenario: Callable[[Bench], Awaitable[None]], signer: Authority | None = None) -> None:
    async def wait() -> None:
        bench = Bench(signer or authority())
        service = CertificateService(
            lambda: bench.signer,
            bench.clock,
            authenticator=Authenticator(Reviewer(), bench.clock),
            trust_domain_of=bench.trust_domain_of,
            longest=90 * DAY,
            nodes=NodeAccess({("istio-system", "ztunnel")}, bench.pods, patience=0.2),
        )
        server = make_server([service.handler()])
        bench.port = bind(server, "127.0.0.1:0", ServingCertificate(*serving(bench.signer, 3)))
        await server.start()
        try:
            async with asyncio.timeout(10):
                await scenario(bench)
        finally:
            await server.stop(0)

    asyncio.run(wait())


def test_the_chain_is_leaf_intermediate_root_and_names_the_caller_only() -> None:
    """TR10: what the request asks to be named is ignored."""

    async def scenario(bench: Bench) -> None:
        chain = [load_certificates(pem.encode()) for pem in await bench.create()]
        assert [len(part) for part in chain] == [1, 1, 1]
        [leaf], [intermediate], [root] = chain
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/sample/sa/sleep")]
        assert public_bytes(leaf.public_key()) == public_bytes(bench.key.public_key())
        leaf.verify_directly_issued_by(intermediate)
        intermediate.verify_directly_issued_by(root)
        assert leaf.not_valid_after_utc.timestamp() == NOW + DAY

    run(scenario)


def test_the_identity_has_the_trust_domain_of_the_callers_cluster() -> None:
    """TR6; Istio gives everybody the primary's (AU2)."""

    async def scenario(bench: Bench) -> None:
        leaf = load_certificates((await bench.create(cluster="west"))[0].encode())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier("spiffe://west.example/ns/sample/sa/sleep")]

    run(scenario)


def test_an_authority_refuses_what_it_is_not_responsible_for() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match=r"may not sign for trust domain west\.example") as refused:
            await bench.create(cluster="west")
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert len(await bench.create(cluster="east")) == 3

    run(scenario, authority("cluster.local"))


def test_while_a_trust_domain_is_not_known_the_caller_shall_try_again() -> None:
    async def scenario(bench: Bench) -> None:
        del bench.trust_domains["west"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bench.create(cluster="west")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    run(scenario)


@pytest.mark.parametrize(("asked", "given"), [(20, 20), (3600, 3600), (10**9, 90 * DAY), (0, DAY)])
def test_the_lifetime_is_bounded(asked: int, given: float) -> None:
    async def scenario(bench: Bench) -> None:
        leaf = load_certificates((await bench.create(validity_duration=asked))[0].encode())[0]
        assert leaf.not_valid_after_utc.timestamp() - NOW == given

    run(scenario)


def impersonating(name: str) -> dict[str, Any]:
    return {"metadata": {"ImpersonatedIdentity": name}}


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        ({"token": ""}, grpc.StatusCode.UNAUTHENTICATED, "no bearer token"),
        ({"token": "nobody"}, grpc.StatusCode.UNAUTHENTICATED, "cluster east refused the token"),
        ({"csr": "hello"}, grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read"),
        (
            impersonating("spiffe://t/ns/a/sa/b"),
            grpc.StatusCode.PERMISSION_DENIED,
            "certificate of spiffe://t/ns/a/sa/b",
        ),
    ],
)
def test_refusals_say_why(call: dict[str, Any], code: grpc.StatusCode, text: str) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bench.create(**call)
        assert refused.value.code() is code
        assert text in (refused.value.details() or "")

    run(scenario)


NODE = "istio-system:ztunnel"
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"


def test_a_node_proxy_gets_the_identity_of_a_pod_on_its_node() -> None:
    """TR11; the key is still the caller's own."""

    async def scenario(bench: Bench) -> None:
        bench.pods.rows.append(pod("sleep-1", "sleep"))
        leaf = load_certificates((await bench.create(NODE, **impersonating(SLEEP)))[0].encode())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier(SLEEP)]
        assert public_bytes(leaf.public_key()) == public_bytes(bench.key.public_key())

    run(scenario)


def test_a_pod_that_is_observed_a_moment_later_is_waited_for() -> None:
    """The node is told of a new pod when we are, and may be faster."""

    async def scenario(bench: Bench) -> None:
        bench.pods.arriving = [pod("sleep-1", "sleep")]
        assert len(await bench.create(NODE, **impersonating(SLEEP))) == 3
        assert bench.pods.looks == 2

    run(scenario)


def test_of_another_node_or_cluster_it_gets_nothing() -> None:
    """Each cluster's pods answer for that cluster's nodes only, and in its trust domain."""

    async def scenario(bench: Bench) -> None:
        bench.pods.rows += [pod("sleep-1", "sleep", node="n2"), pod("sleep-1", "sleep", cluster="west")]
        with pytest.raises(
            grpc.aio.AioRpcError, match=f"no pod on node n1 of cluster east has the identity {SLEEP}"
        ) as no:
            await bench.create(NODE, **impersonating(SLEEP))
        assert no.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError, match=r"is not in trust domain west\.example of cluster west"):
            await bench.create(NODE, cluster="west", **impersonating(SLEEP))
        theirs = SLEEP.replace("cluster.local", "west.example")
        assert len(await bench.create(NODE, cluster="west", **impersonating(theirs))) == 3

    run(scenario)


def test_an_identity_that_is_no_text_is_not_taken_for_none() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match="ImpersonatedIdentity is no text") as refused:
            await bench.create(NODE, metadata={"ImpersonatedIdentity": [SLEEP]})
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(scenario)


def test_an_expired_authority_says_what_to_replace() -> None:
    async def scenario(bench: Bench) -> None:
        bench.clock.time = NOW + 1000 * 365 * DAY
        with pytest.raises(grpc.aio.AioRpcError, match="Replace the secret cacerts") as refused:
            await bench.create()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    run(scenario)


def test_a_replaced_certificate_is_shown_to_the_next_connection() -> None:
    async def scenario(bench: Bench) -> None:
        certificate = ServingCertificate(*serving(bench.signer, 100))
        server = make_server([])
        bench.port = bind(server, "127.0.0.1:0", certificate)
        await server.start()
        try:
            assert [await shown_serial(bench), await shown_serial(bench)] == [100, 100]
            certificate.replace(*serving(bench.signer, 200))
            assert [await shown_serial(bench), await shown_serial(bench)] == [200, 200]
        finally:
            await server.stop(0)

    run(scenario)


async def shown_serial(bench: Bench) -> int:
    import ssl

    context = ssl.create_default_context(cadata=bench.signer.root_bundle.decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", bench.port, ssl=context, server_hostname=HOST)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


def test_a_taken_port_is_an_error_that_says_so() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{bench.port}"):
            bind(make_server([]), f"127.0.0.1:{bench.port}", None)

    run(scenario)
