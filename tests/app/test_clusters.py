"""ClusterManager against API servers in this process: start, outage, rotation, removal, restart, the truth."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from isthmus.kube.kubeconfig import Access
from isthmus.model.rows import Cluster
from isthmus.tables.changes import Replace
from tests.app.cluster_world import World, kubeconfig, play, remote_secret, seen, service, until


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """Whatever blocks the event loop fails the test.

    Locks are not looked at: gRPC waits for one when the collector finds what earlier tests left of it.
    """
    gc.collect()
    with blockbuster_ctx("isthmus") as found:
        for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
            found.functions[name].deactivate()
        yield found


def test_own_and_remote_clusters_are_listed_and_followed(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        assert w.services("east") == {"in-east"}
        assert w.services() == {"in-west"}
        assert w.tables.cluster("east") == Cluster(cluster="east", name="east", config=True)
        assert w.tables.cluster("west") == Cluster(cluster="west", name="west")
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        await w.west.delete("services", "in-west", "sample")
        await until(lambda: w.services() == {"late"})
        assert [(s.id, s.status) for s in w.manager.statuses()] == [("east", "synced"), ("west", "synced")]

    play(tmp_path, scenario)


def test_a_cluster_appears_in_one_revision(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        first = [
            r
            for r in w.tables.revisions
            if any(c.table == "services" and c.prefix == ("west",) for c in r if isinstance(c, Replace))
        ]
        assert len(first) == 1
        assert {c.table for c in first[0]} == {
            "clusters",
            "namespaces",
            "nodes",
            "services",
            "endpointslices",
            "workloads",
            "workload_entries",
            "mesh_configs",
            "mesh_networks",
            "api_gateways",
            "managed_gateways",
            "peer_links",
        }

    play(tmp_path, scenario)


def test_remote_clusters_are_not_asked_for_policy(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        asked = {request.split("?")[0].rpartition("/")[2] for request in w.west.requests}
        assert asked >= {"services", "pods", "nodes", "namespaces", "endpointslices", "configmaps"}
        assert not asked & {"peerauthentications", "destinationrules", "secrets"}
        istio = {request.split("?")[0].rpartition("/")[2] for request in w.west.requests if ".istio.io/" in request}
        assert istio == {"workloadentries"}

    play(tmp_path, scenario)


def test_outage_changes_no_row_and_the_status_says_so(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        before = dict(w.tables.rows)
        await w.west.stop()
        await until(lambda: w.status().status == "error")
        assert "connect" in w.status().last_error
        assert w.tables.rows == before
        assert w.status().rows == 1
        w.west.objects.clear()
        await w.west.start()
        await w.west.put("services", service("new"))
        w.west.oldest = w.west.version
        await until(lambda: w.services() == {"new"})
        await until(lambda: w.status().status == "synced")

    play(tmp_path, scenario)


def test_silence_is_noticed_and_its_end_too(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.hanging = True
        await until(lambda: w.status().status == "error")
        assert "does not answer" in w.status().last_error
        assert w.services() == {"in-west"}
        w.west.hanging = False
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"} and w.status().status == "synced")

    play(tmp_path, scenario)


def test_rotation_swaps_when_the_new_credentials_have_listed(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.tokens = {"good", "better"}
        await w.link(token="better")
        await until(lambda: any("/services" in r and "watch" in r for r in w.west.requests[-20:]))
        w.west.tokens = {"better"}
        await w.west.drop_watches()
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"} and w.status().status == "synced")
        assert all("in-west" in names for names in seen(w.tables, "west"))

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("server", "token", "words"),
    [("", "bad", "told: Unauthorized"), ("http://127.0.0.1:1", "good", "127.0.0.1:1"), ("nowhere", "good", "no URL")],
)
def test_wrong_secret_shows_its_error_and_keeps_what_worked(
    tmp_path: Path, server: str, token: str, words: str
) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.link(server=server, token=token)
        await until(lambda: words in w.status().last_error)
        assert w.status().status == "error"
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        await w.link()
        await until(lambda: w.status().status == "synced" and not w.status().last_error)
        assert all("in-west" in names for names in seen(w.tables, "west"))

    play(tmp_path, scenario)


def test_deleted_secret_removes_the_clusters_rows_at_once(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.east.delete("secrets", "istio-remote-secret-west", "istio-system")
        await until(lambda: not w.services())
        assert w.tables.cluster("west") is None
        assert [s.id for s in w.manager.statuses()] == ["east"]
        await w.link()
        await until(lambda: w.services() == {"in-west"})

    play(tmp_path, scenario)


def test_second_secret_for_a_cluster_is_ignored_and_takes_over_when_the_first_goes(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.link(secret="zz-second", server="http://127.0.0.1:1")
        await until(lambda: any("already" in p.message for p in w.manager.problems()))
        assert w.status().status == "synced"
        await w.east.delete("secrets", "istio-remote-secret-zz-second", "istio-system")
        await until(lambda: not w.manager.problems())
        assert w.services() == {"in-west"}

    play(tmp_path, scenario)


def test_never_seen_cluster_stops_blocking_after_the_timeout_and_joins_later(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.west.stop()
        await w.link()
        await w.start()
        with pytest.raises(TimeoutError):
            await w.synced(within=0.3)
        await w.synced()
        assert w.status().status == "timeout"
        assert w.status().last_error
        assert w.tables.cluster("west") is None
        await w.west.start()
        await until(lambda: w.services() == {"in-west"} and w.status().status == "synced")

    play(tmp_path, scenario)


def test_own_cluster_is_waited_for_without_limit(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.east.stop()
        await w.start(remote_timeout=0.1)
        await until(lambda: "error" in {status.status for status in w.manager.statuses()}, within=10)
        with pytest.raises(TimeoutError):
            await w.synced(within=0.5)
        assert not w.tables.revisions
        await w.east.start()
        await w.synced()

    play(tmp_path, scenario)


def test_restart_while_a_remote_is_dead_serves_its_rows_marked_stale(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.west.stop()
        await w.start(remote_timeout=30)
        await w.synced()
        assert w.services() == {"in-west"}
        row = w.tables.cluster("west")
        assert row is not None
        assert row.stale
        assert w.status().stale
        assert w.status().status == "error"
        assert w.status().last_contact is not None
        w.west.objects.clear()
        await w.west.start()
        await w.west.put("services", service("new"))
        await until(lambda: w.services() == {"new"})
        await until(lambda: w.status().status == "synced")
        row = w.tables.cluster("west")
        assert row is not None
        assert not row.stale

    play(tmp_path, scenario)


def test_restart_while_a_remote_is_silent_waits_a_moment_then_restores(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        w.west.hanging = True
        await w.start(remote_timeout=30, probe_interval=60)
        await w.synced()
        assert w.services() == {"in-west"}
        assert w.status().stale

    play(tmp_path, scenario)


def test_restart_while_the_own_api_server_is_dead_knows_all_clusters(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.east.stop()
        await w.start()
        await w.synced()
        assert w.services("east") == {"in-east"}
        assert w.services() == {"in-west"}
        assert "own API server" in w.status().last_error
        await w.east.start()
        await until(lambda: w.status().status == w.status("east").status == "synced")
        assert not w.status().stale

    play(tmp_path, scenario)


def test_secret_deleted_while_down_is_not_restored(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.west.stop()
        await w.east.delete("secrets", "istio-remote-secret-west", "istio-system")
        await w.start()
        await w.synced()
        assert not w.services()
        await until(lambda: not list(tmp_path.glob("west*")))

    play(tmp_path, scenario)


def damage(directory: Path) -> None:
    """Cut the end off every file."""
    for path in directory.iterdir():
        path.write_bytes(path.read_bytes()[:-9])


def test_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await asyncio.to_thread(damage, tmp_path)
        await w.start()
        await w.synced()
        assert w.services() == {"in-west"}

    play(tmp_path, scenario)


def test_missing_right_to_an_optional_kind_does_not_block(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.west.refusals = {"nodes": (403, "Forbidden")}
        await w.link()
        await w.start()
        await w.synced()
        assert w.services() == {"in-west"}
        assert w.status().status == "synced"

    play(tmp_path, scenario)


def test_missing_right_to_a_needed_kind_is_an_error_and_the_rest_is_used_after_the_timeout(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.west.refusals = {"pods": (403, "Forbidden")}
        await w.link()
        await w.start()
        await w.synced()
        await until(lambda: w.services() == {"in-west"})
        assert w.status().status == "error"
        assert "Forbidden" in w.status().last_error
        w.west.refusals = {}
        await until(lambda: w.status().status == "synced")

    play(tmp_path, scenario)


def test_custom_kinds_that_are_not_installed_count_as_empty(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.east.missing = {"gateways", "destinationrules", "peerauthentications"}
        await w.start()
        await w.synced()
        w.east.missing = set()
        server = {
            "port": {"number": 15443, "protocol": "TLS"},
            "tls": {"mode": "AUTO_PASSTHROUGH"},
            "hosts": ["*.local"],
        }
        await w.east.put("gateways", {"metadata": {"name": "g", "namespace": "a"}, "spec": {"servers": [server]}})
        await until(lambda: w.tables.names("gateways", "east") == {"g"})

    play(tmp_path, scenario)


def test_malformed_object_is_reported_and_harms_nothing(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        broken = service("in-west") | {"spec": {"ports": [{"port": "eighty"}]}}
        await w.west.put("services", broken)
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        (problem,) = w.manager.problems()
        assert str(problem.where) == "Service sample/in-west in cluster west"
        assert problem.field == "spec.ports[0].port"
        await w.west.compact()
        await until(lambda: any("/services?limit" in r for r in w.west.requests[-12:]))
        assert w.services() == {"in-west", "late"}
        await w.west.put("services", service("in-west"))
        await until(lambda: not w.manager.problems())

    play(tmp_path, scenario)


def test_trust_domain_comes_from_the_clusters_own_mesh_config(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        mesh = {
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": "trustDomain: west.example"},
        }
        await w.west.put("configmaps", mesh)
        await w.link()
        await w.start()
        await w.synced()
        row = w.tables.cluster("west")
        assert row is not None
        assert row.trust_domain == "west.example"
        mesh["data"] = {"mesh": "trustDomain: changed.example"}
        await w.west.put("configmaps", mesh)
        await until(lambda: (w.tables.cluster("west") or row).trust_domain == "changed.example")

    play(tmp_path, scenario)


def test_one_secret_may_hold_several_clusters(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        both = {"west": kubeconfig(w.west.url, "good"), "south": kubeconfig(w.west.url, "good")}
        await w.east.put("secrets", remote_secret(both, "both"))
        await w.start()
        await w.synced()
        assert w.services("west") == w.services("south") == {"in-west"}
        await w.east.put("secrets", remote_secret({"west": both["west"]}, "both"))
        await until(lambda: not w.services("south"))
        assert w.services("west") == {"in-west"}

    play(tmp_path, scenario)


def test_token_review_goes_to_the_cluster_named(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.tokens.add("proxy")
        assert (await w.manager.review("west", "proxy", "istio-ca"))["authenticated"] is True
        assert (await w.manager.review("east", "proxy", "istio-ca"))["authenticated"] is False
        assert set(w.manager.clusters()) == {"east", "west"}

    play(tmp_path, scenario)


def test_kubeconfig_files_give_access_as_secrets_do(tmp_path: Path) -> None:
    """RS9: the id is the cluster of the file's current context."""
    files = tmp_path / "files"
    files.mkdir()

    async def scenario(w: World) -> None:
        (files / "west.yaml").write_text(kubeconfig(w.west.url, "good"))
        await w.start(kubeconfig_dir=str(files), files_interval=0.02)
        await until(lambda: w.services("c") == {"in-west"})
        assert w.status("c").secret == "file west.yaml"
        (files / "west.yaml").unlink()
        await until(lambda: not w.services("c"))
        assert [s.id for s in w.manager.statuses()] == ["east"]

    play(tmp_path, scenario)


def test_secrets_may_be_in_the_cluster_where_the_control_plane_runs(tmp_path: Path) -> None:
    """PR4: an external control plane reads its configuration from east, its remote secrets from where it runs."""

    async def scenario(w: World) -> None:
        there = Access(server=w.west.url, token="good")
        await w.east.put("secrets", remote_secret({"wrong": kubeconfig(w.west.url, "good")}, "wrong"))
        await w.west.put("secrets", remote_secret({"north": kubeconfig(w.west.url, "good")}, "north"))
        await w.start(local=there)
        await w.synced()
        assert {s.id for s in w.manager.statuses()} == {"east", "north"}
        assert w.services("north") == {"in-west"}
        client = w.manager.local_client()
        assert client is not None
        assert client is not w.manager.client("east")
        await w.stop()
        await w.west.stop()
        await w.start(local=there)
        await w.synced()
        assert w.services("north") == {"in-west"}
        assert any("where the control plane runs" in str(problem) for problem in w.manager.problems())

    play(tmp_path, scenario)


def test_last_contact_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """And not mistaken for the time when the checkpoint was written."""

    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.west.stop()
        await until(lambda: w.status().status == "error")
        heard = w.status().last_contact
        w.manager._clusters["west"].dirty = True
        await w.stop()
        await w.start()
        await w.synced()
        assert w.status().stale
        assert w.status().last_contact == heard

    play(tmp_path, scenario)


def test_digests_tell_what_was_observed(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        first = await w.manager.digests()
        assert first.keys() == {"east", "west"}
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        second = await w.manager.digests()
        assert second["east"] == first["east"]
        assert {kind for kind in second["west"] if second["west"][kind] != first["west"][kind]} == {"Service"}
        await w.stop()
        await w.start()
        await w.synced()
        assert await w.manager.digests() == second

    play(tmp_path, scenario)
