"""`isthmus multicluster`: one mesh of clusters whose control planes are linked, without credentials of API servers."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from isthmus.base.errors import ExitCode, UsageError
from isthmus.cli import linking
from isthmus.cli.expose import EXPOSE_EXAMPLES, GATEWAY_NAMESPACE, expose
from isthmus.cli.linking import Site
from isthmus.cli.output import Format, json, table, warn
from isthmus.cli.peer_check import HEADERS, Standing, precheck, print_findings, standings, successions
from isthmus.cli.places import places, split_contexts
from isthmus.cli.reach import Kubeconfig, SystemNamespace, run
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install.manifests import render
from isthmus.install.peer_link import link_manifest

app = typer.Typer(no_args_is_help=True, add_completion=False)

Contexts = Annotated[
    list[str] | None, typer.Option("--contexts", help="Contexts of the clusters, with commas or one by one.")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Where the gateways and the links are.")]
From = Annotated[str, typer.Option("--from", help="Context of the cluster that calls.")]
To = Annotated[str, typer.Option("--to", help="Context of the cluster that is called.")]

LOOK_AGAIN = 0.5
"""Seconds between looks whether links stand."""


@app.callback()
def _group() -> None:
    """One mesh of many clusters: make a cluster reachable, link it to others, check the links."""


app.command(epilog=EXPOSE_EXAMPLES)(expose)

LINK_EXAMPLES = """Examples:

  isthmus multicluster link --contexts east,west,north          all pairs, both ways

  isthmus multicluster link --from east --to north              east calls north, north does not call east

  isthmus multicluster link --generate --context west | kubectl --context east apply -f -
"""


@app.command(epilog=LINK_EXAMPLES)
def link(  # noqa: PLR0913, PLR0917  (each is a flag)
    contexts: Contexts = None,
    source: From = "",
    target: To = "",
    generate: Annotated[
        bool, typer.Option("--generate", help="Print what another cluster needs to be linked to --context.")
    ] = False,
    context: Annotated[str, typer.Option("--context", help="With --generate: the cluster that is called.")] = "",
    namespace: Namespace = GATEWAY_NAMESPACE,
    kubeconfig: Kubeconfig = "",
    system_namespace: SystemNamespace = SYSTEM_NAMESPACE,
    wait: Annotated[bool, typer.Option(help="Wait until the control planes talk to each other.")] = True,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 60.0,
) -> None:
    """Link clusters: their control planes exchange global services, identities and roots from then on.

    A link is a Gateway of class istio-remote in the cluster that calls. It holds the address of the other's east-west
    gateway, its trust domain and its roots, and no credentials. Linking again brings a link up to date.

    Exit code 1: a cluster has no gateway to enter by, or a link does not stand in time.
    """
    names = split_contexts(contexts or ())
    if generate:
        if names or source or target:
            raise UsageError("--generate prints one cluster", "Give it with --context")
        print(run(_generate(kubeconfig, context, namespace, system_namespace)), end="")
        return
    wanted, both = _wanted(names, source, target)

    async def work() -> bool:
        async with places(kubeconfig, wanted, system_namespace) as found:
            known = await linking.sites(found)
            linking.distinct(known)
            pairs = await _write(known, namespace, both=both)
            return not wait or await _stand(pairs, timeout)

    if not run(work()):
        raise typer.Exit(ExitCode.PROBLEMS)


def _wanted(names: Sequence[str], source: str, target: str) -> tuple[list[str], bool]:
    """The contexts, and whether each is linked to each. Raises UsageError."""
    if names and (source or target):
        raise UsageError("--contexts links all pairs, --from and --to one way", "Give one or the other")
    if names:
        if len(set(names)) < 2:
            raise UsageError("one cluster has no link", "Name two or more contexts: --contexts east,west")
        return list(dict.fromkeys(names)), True
    if not (source or target):
        raise UsageError("nothing says which clusters are meant", "Give --contexts, or --from and --to")
    if not (source and target):
        given, missing = ("--from", "--to") if source else ("--to", "--from")
        raise UsageError(f"{given} names one cluster, and nothing the other", f"Give {missing}, too")
    if source == target:
        raise UsageError(f"--from and --to are both {source}", "Name two clusters")
    return [source, target], False


async def _generate(kubeconfig: str, context: str, namespace: str, system_namespace: str) -> str:
    async with places(kubeconfig, [context] if context else [], system_namespace) as found:
        values = await linking.peer_values(await linking.site(found[0]), namespace)
        return render([link_manifest(values, namespace)])


async def _write(known: Sequence[Site], namespace: str, *, both: bool) -> list[tuple[Site, Site]]:
    """Write the links; returns who follows whom. All clusters are asked before the first is written to."""
    callers = known if both else known[:1]
    called = known if both else known[1:]
    values = {one.cluster: await linking.peer_values(one, namespace) for one in called}
    pairs = [(source, target) for source in callers for target in called if source is not target]
    for source, target in pairs:
        manifest = link_manifest(values[target.cluster], namespace)
        await linking.write_link(source, manifest)
        print(f"{source.context} → {target.context}: {namespace}/{manifest['metadata']['name']}")
    if not both:
        source, target = known
        if await linking.let_in(source, target, namespace):
            print(f"{target.context} lets {source.context} in, and calls nothing there")
    return pairs


async def _stand(pairs: Sequence[tuple[Site, Site]], patience: float) -> bool:
    """Wait until every source has heard its target; True if so. Says how each stands."""
    deadline = time.monotonic() + patience
    while True:
        sources = {source.cluster: source for source, _ in pairs}
        known = {cluster: await linking.site(source.place) for cluster, source in sources.items()}
        found = [
            one for source, target in pairs for one in standings([known[source.cluster]]) if one.peer == target.cluster
        ]
        good = len({(one.cluster, one.peer) for one in found}) == len(pairs) and all(one.good for one in found)
        if good or time.monotonic() > deadline:
            print()
            table(HEADERS, [one.row(time.time()) for one in found])
            return good
        await asyncio.sleep(LOOK_AGAIN)


@app.command()
def unlink(
    contexts: Contexts = None,
    source: From = "",
    target: To = "",
    namespace: Namespace = GATEWAY_NAMESPACE,
    kubeconfig: Kubeconfig = "",
    system_namespace: SystemNamespace = SYSTEM_NAMESPACE,
) -> None:
    """Remove links; what the other cluster told goes with them at once.

      isthmus multicluster unlink --contexts east,west      both ways

      isthmus multicluster unlink --from east --to north    east does not call north any more

    For a cluster that is gone: kubectl delete gateway -n istio-gateways istio-remote-peer-<cluster>. Exit code 1: there
    was no link.
    """
    wanted, both = _wanted(split_contexts(contexts or ()), source, target)

    async def work() -> int:
        async with places(kubeconfig, wanted, system_namespace) as found:
            known = await linking.sites(found)
            pairs = [(a, b) for a in (known if both else known[:1]) for b in known if a is not b]
            removed = 0
            for one, other in pairs:
                gone = await _remove(one, other, namespace, both=both)
                removed += gone
                print(f"{one.context} → {other.context}: {'removed' if gone else 'was not linked'}")
            return removed

    if not run(work()):
        raise typer.Exit(ExitCode.PROBLEMS)


async def _remove(one: Site, other: Site, namespace: str, *, both: bool) -> bool:
    """Remove a link; False if there is none.

    If only this way is to end, what the other calls here goes on: it is still let in. If it calls nothing here, nothing
    is left in either cluster: the other let this one in for the sake of this link.
    """
    if both:
        return await linking.remove_link(one, other.cluster, namespace)
    if not await linking.calls(one, other.cluster, namespace):
        return False
    if await linking.calls(other, one.cluster, namespace):
        await linking.only_let_in(other, one, namespace)
        return True
    await linking.remove_link(other, one.cluster, namespace)
    return await linking.remove_link(one, other.cluster, namespace)


CHECK_EXAMPLES = """Examples:

  isthmus multicluster check --contexts east,west,north             the links, as both ends see them

  isthmus multicluster check --precheck --contexts east,north       may these be linked

  isthmus multicluster check --contexts east,west -o json           for a pipeline
"""


@app.command(epilog=CHECK_EXAMPLES)
def check(
    contexts: Contexts = None,
    before: Annotated[bool, typer.Option("--precheck", help="Look at clusters before they are linked.")] = False,
    namespace: Namespace = GATEWAY_NAMESPACE,
    kubeconfig: Kubeconfig = "",
    system_namespace: SystemNamespace = SYSTEM_NAMESPACE,
    output: Output = Format.TABLE,
) -> None:
    """How links stand: since when, how far away the other is, when it last told something, and how many services.

    Every replica of a control plane has streams of its own, so each is a line. Exit code 1: a link does not stand, or
    clusters cannot be linked; 3: a cluster cannot be asked, and only the others are shown.
    """

    async def work() -> int:
        async with places(kubeconfig, split_contexts(contexts or ()), system_namespace) as found:
            known, away = await linking.reachable(found)
            if away and (before or not known):
                raise away[0]
            if before:
                findings = await precheck(known, namespace)
                good = print_findings(findings, as_json=output is Format.JSON)
            else:
                good = _show(standings(known), output)
                for line in successions(known) if output is Format.TABLE else ():
                    print(line)
            for error in away:
                warn(str(error))
            return ExitCode.UNREACHABLE if away else ExitCode.GOOD if good else ExitCode.PROBLEMS

    if code := run(work()):
        raise typer.Exit(code)


def _show(found: Sequence[Standing], output: Format) -> bool:
    if output is Format.JSON:
        json([one.as_json() for one in found])
    elif found:
        table(HEADERS, [one.row(time.time()) for one in found])
    else:
        print("no links; isthmus multicluster link makes them")
    return all(one.good for one in found)
