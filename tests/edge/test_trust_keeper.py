"""The keeping of trust against a real API server: where the authority comes from, and where its roots go."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.edge.kube_client import KubeClient
from isthmus.edge.root_writer import ROOT_KEY, WEBHOOKS
from isthmus.edge.trust_keeper import HELD_SECRET, Serving, TrustKeeper, TrustSettings
from isthmus.install.values import ROOT_CONFIG_MAP
from isthmus.kube.requests import CONFIG_MAPS, NAMESPACES, SECRETS
from isthmus.trust.authority import PLUG_IN_SECRET, SELF_SIGNED_SECRET, secret_data
from isthmus.trust.errors import TrustError
from isthmus.trust.issue import DAY, PemPair, make_intermediate, make_root
from isthmus.trust.pem import load_certificates, new_key
from tests.embedded import EmbeddedCluster

NOW = 1_800_000_000.0
ROOT = make_root(new_key(), now=NOW, serial=1)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster("east", tmp_path_factory.mktemp("east"))
    with asyncio.Runner() as runner:
        runner.run(made.start())
        yield made
        runner.run(made.kill())


class Bench:
    """One control plane's keeper, in a system namespace of its own."""

    def __init__(self, client: KubeClient, namespace: str, directory: Path) -> None:
        self.client = client
        self.namespace = namespace
        self.directory = directory
        self.clock = Clock()
        self.served: list[Serving] = []
        self.reachable = True
        self.disbelievers: tuple[str, ...] = ()
        self.keeper = self.another()

    def another(self) -> TrustKeeper:
        settings = TrustSettings(
            system_namespace=self.namespace,
            dns_names=("istiod.istio-system.svc",),
            ca_directory=self.directory,
            webhook_name=f"webhook-{self.namespace}",
            serving_lifetime=3600,
            look=0.02,
            interval=0.02,
        )
        client = lambda: self.client if self.reachable else None  # noqa: E731
        return TrustKeeper(
            settings,
            self.clock,
            client=client,
            on_serving=self.served.append,
            disbelievers=lambda roots, seconds: self.disbelievers,
        )

    async def secret(self, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded}
        await self.client.apply(SECRETS, body, manager="test")

    async def roots_in(self, namespace: str) -> str | None:
        found = await self.client.find(CONFIG_MAPS, namespace, ROOT_CONFIG_MAP)
        return found["data"][ROOT_KEY] if found else None

    async def create_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.client.create(NAMESPACES, body)

    async def while_running(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Run the keeper until a condition holds."""
        task = asyncio.create_task(self.keeper.run())
        try:
            async with asyncio.timeout(10):
                while not await done():  # noqa: ASYNC110  (an API server has no event for us)
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.wait({task})


numbers = iter(range(1000))


def run(cluster: EmbeddedCluster, tmp_path: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20), await cluster.client() as client:
            bench = Bench(client, f"system-{next(numbers)}", tmp_path)
            await bench.create_namespace(bench.namespace)
            await scenario(bench)

    asyncio.run(bounded())


def intermediate(serial: int = 2, root: PemPair = ROOT) -> dict[str, bytes]:
    return secret_data(
        make_intermediate(root, new_key(), now=NOW, serial=serial, cluster="east"), b"", root.certificate
    )


def issuer(keeper: TrustKeeper) -> str:
    return keeper.authority.certificate.subject.rfc4514_string()


def test_the_operators_secret_is_taken(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """TR1"""

    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        serving = await bench.keeper.start()
        assert issuer(bench.keeper) == "CN=Intermediate CA east,O=Isthmus"
        assert len(load_certificates(serving.issued.presented)) == 2
        assert bench.served == [serving]
        assert await bench.client.find(SECRETS, bench.namespace, SELF_SIGNED_SECRET) is None

    run(cluster, tmp_path, scenario)


def test_mounted_files_come_first_and_need_no_api_server(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for name, data in intermediate().items():
            (tmp_path / name).write_bytes(data)
        bench.reachable = False
        await bench.keeper.start()
        assert issuer(bench.keeper) == "CN=Intermediate CA east,O=Isthmus"

    run(cluster, tmp_path, scenario)


def test_without_any_a_self_signed_one_is_made_and_kept_and_shared(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """TR1"""

    async def scenario(bench: Bench) -> None:
        await bench.keeper.start()
        other = bench.another()
        await other.start()
        assert other.authority.root_bundle == bench.keeper.authority.root_bundle
        assert issuer(other) == "CN=Root CA,O=Isthmus"

    run(cluster, tmp_path, scenario)


def test_two_replicas_that_start_together_agree(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        keepers = [bench.another() for _ in range(4)]
        await asyncio.gather(*(keeper.start() for keeper in keepers))
        assert len({keeper.authority.root_bundle for keeper in keepers}) == 1

    run(cluster, tmp_path, scenario)


def test_without_authority_and_api_server_it_says_what_to_mount(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.reachable = False
        with pytest.raises(TrustError, match="cannot be asked") as refused:
            await bench.keeper.start()
        assert "Mount the secret cacerts" in refused.value.remedy
        with pytest.raises(TrustError, match="no certificate authority yet"):
            _ = bench.keeper.authority

    run(cluster, tmp_path, scenario)


def test_a_broken_secret_is_not_replaced_by_another_authority(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate() | {"ca-key.pem": b"nonsense"})
        with pytest.raises(TrustError, match="private key cannot be read"):
            await bench.keeper.start()
        assert await bench.client.find(SECRETS, bench.namespace, SELF_SIGNED_SECRET) is None

    run(cluster, tmp_path, scenario)


def test_roots_go_to_every_namespace_also_to_one_that_comes_later(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """TR3"""

    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        await bench.keeper.start()
        roots = ROOT.certificate.decode()

        async def everywhere() -> bool:
            return {await bench.roots_in(name) for name in ("default", bench.namespace)} == {roots}

        await bench.while_running(everywhere)
        late = f"late-{bench.namespace}"
        await bench.create_namespace(late)

        async def there() -> bool:
            bench.keeper.poke()
            return await bench.roots_in(late) == roots

        await bench.while_running(there)

    run(cluster, tmp_path, scenario)


def test_somebody_elses_edit_of_the_roots_is_undone(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        await bench.keeper.start()
        await bench.client.apply(
            CONFIG_MAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": ROOT_CONFIG_MAP, "namespace": bench.namespace},
                "data": {ROOT_KEY: "mine"},
            },
            manager="somebody",
        )

        async def undone() -> bool:
            return await bench.roots_in(bench.namespace) == ROOT.certificate.decode()

        await bench.while_running(undone)

    run(cluster, tmp_path, scenario)


def test_the_webhook_is_made_to_trust_us(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        await bench.keeper.start()
        name = f"webhook-{bench.namespace}"
        await bench.client.create(WEBHOOKS, webhook(name, bench.namespace))

        async def trusted() -> bool:
            hooks: list[Any] = (await bench.client.get(WEBHOOKS, "", name))["webhooks"]
            bundles = {base64.b64decode(hook["clientConfig"].get("caBundle", "")) for hook in hooks}
            return bundles == {ROOT.certificate}

        await bench.while_running(trusted)

    run(cluster, tmp_path, scenario)


def webhook(name: str, namespace: str) -> dict[str, Any]:
    hook = {
        "clientConfig": {"service": {"name": "istiod", "namespace": namespace, "path": "/inject"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore",
        "namespaceSelector": {"matchLabels": {"nobody": "here"}},
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{"name": f"{part}.isthmus.dev", **hook} for part in ("a", "b")],
    }


def test_a_new_intermediate_under_the_same_root_is_taken_over(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate(2))
        await bench.keeper.start()
        await bench.secret(PLUG_IN_SECRET, intermediate(77))

        async def replaced() -> bool:
            return bench.keeper.authority.certificate.serial_number == 77

        await bench.while_running(replaced)
        assert len(bench.served) == 2, "its own certificate is issued by the new one"

    run(cluster, tmp_path, scenario)


def test_an_unrelated_root_is_refused_and_the_present_one_stays(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """TR2"""

    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        await bench.keeper.start()
        stranger = make_root(new_key(), now=NOW, serial=9, organization="Stranger")
        await bench.secret(PLUG_IN_SECRET, intermediate(root=stranger))

        async def told() -> bool:
            return "shares no root" in bench.keeper.last_error

        await bench.while_running(told)
        assert bench.keeper.authority.root_bundle == ROOT.certificate

    run(cluster, tmp_path, scenario)


def test_our_own_certificate_is_renewed_at_half_its_life(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate())
        await bench.keeper.start()
        bench.clock.time = NOW + 2000

        async def renewed() -> bool:
            return len(bench.served) == 2

        await bench.while_running(renewed)
        assert bench.served[1].issued.not_after == NOW + 2000 + 3600

    run(cluster, tmp_path, scenario)


def test_a_self_signed_root_is_renewed_beside_the_old_one(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """TR1"""

    async def scenario(bench: Bench) -> None:
        await bench.keeper.start()
        [old] = load_certificates(bench.keeper.authority.root_bundle)
        bench.clock.time = NOW + 9 * 365 * DAY

        async def renewed() -> bool:
            return len(bench.keeper.authority.roots) == 2

        await bench.while_running(renewed)
        assert old in bench.keeper.authority.roots
        assert bench.keeper.authority.not_after > old.not_valid_after_utc.timestamp()

    run(cluster, tmp_path, scenario)


NEW_ROOT = make_root(new_key(), now=NOW, serial=5, organization="New")
BOTH = NEW_ROOT.certificate + ROOT.certificate


def serial(keeper: TrustKeeper) -> int:
    return keeper.authority.certificate.serial_number


def roots(keeper: TrustKeeper) -> set[bytes]:
    return set(keeper.authority.root_bundle.split(b"-----END")[:-1])


def test_a_new_root_is_told_and_its_intermediate_waits_also_over_a_restart(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.secret(PLUG_IN_SECRET, intermediate(2))
        await bench.keeper.start()
        bench.disbelievers = ("cluster west",)
        await bench.secret(PLUG_IN_SECRET, intermediate(3, NEW_ROOT) | {"root-cert.pem": BOTH})

        async def waits() -> bool:
            return bench.keeper.waits_for == ("cluster west",)

        async def signs() -> bool:
            return serial(bench.keeper) == 3

        for _ in range(2):
            await bench.while_running(waits)
            assert (serial(bench.keeper), len(roots(bench.keeper))) == (2, 2)
            [problem] = bench.keeper.problems("east")
            assert "not believed by cluster west" in problem.message
            bench.keeper = bench.another()
            await bench.keeper.start()
        bench.disbelievers = ()
        await bench.while_running(signs)
        assert bench.keeper.problems("east") == []

        async def emptied() -> bool:
            return not (await bench.client.get(SECRETS, bench.namespace, HELD_SECRET)).get("data")

        await bench.while_running(emptied)
        again = bench.another()
        await again.start()
        assert serial(again) == 3

    run(cluster, tmp_path, scenario)


def test_an_old_root_stays_until_the_last_certificate_under_it_is_replaced_or_over(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    async def scenario(bench: Bench) -> None:
        keeper = bench.keeper
        await bench.secret(PLUG_IN_SECRET, intermediate(2))
        await keeper.start()
        for holder in ("a", "b"):
            keeper.signed(holder, NOW + 100)
        await bench.secret(PLUG_IN_SECRET, intermediate(3, NEW_ROOT) | {"root-cert.pem": BOTH})

        async def signs() -> bool:
            return serial(keeper) == 3

        async def kept() -> bool:
            return bool(keeper.kept_roots)

        async def gone() -> bool:
            return len(roots(keeper)) == 1

        await bench.while_running(signs)
        await bench.secret(PLUG_IN_SECRET, intermediate(3, NEW_ROOT))
        await bench.while_running(kept)
        keeper.signed("a", NOW + 100)
        await bench.while_running(kept)
        assert len(roots(keeper)) == 2
        bench.clock.time = NOW + 101
        await bench.while_running(gone)
        assert keeper.authority.root_bundle == NEW_ROOT.certificate

    run(cluster, tmp_path, scenario)
