"""Before installing: may we, and is something in the way?"""

from collections.abc import Iterator, Sequence

from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Snapshot, labels_of, name_of

RIGHTS = Category("rights")
ROOM = Category("installation")

OWNER = "install.isthmus.dev/owner"


def rights(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Whoever installs must be able to make what an installation consists of."""
    for one in snapshots:
        if one.denied:
            yield RIGHTS.error(
                f"you may not create {', '.join(one.denied)}",
                one.name,
                effect="the installation stops half-way",
                remedy="Use a context with the role cluster-admin",
            )
        elif not one.errors:
            yield RIGHTS.good("you may create everything that an installation consists of", one.name)


def room(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """No other control plane owns the names that an installation uses."""
    for one in snapshots:
        foreign = [
            name_of(obj)
            for plural in ("deployments", "mutatingwebhookconfigurations")
            for obj in one.all(plural)
            if name_of(obj).startswith("istiod") or name_of(obj).startswith("istio-sidecar-injector")
            if OWNER not in labels_of(obj)
        ]
        if foreign:
            yield ROOM.error(
                f"another mesh is installed: {', '.join(sorted(set(foreign)))}",
                one.name,
                effect="two control planes would inject the same pods",
                remedy="Remove it, or install with another --revision and label namespaces with istio.io/rev",
            )
        elif not one.errors:
            yield ROOM.good("no other mesh is in the way", one.name)
