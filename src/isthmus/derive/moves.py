"""What moves where when a cluster is drained, told before it is done, by the function that decides it."""

from collections.abc import Sequence
from math import fsum

import msgspec

from isthmus.model.mesh import Assignment, Endpoint

Shares = tuple[tuple[str, float], ...]
"""(cluster, part of the requests from 0 to 1), greatest first."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One service that has endpoints in the cluster: how many there and elsewhere, and who answers before and after.

    `stays`: it has no other home, so it is served there on; `headless` ones are resolved by name and not moved.
    """

    namespace: str
    name: str
    here: int
    elsewhere: int
    before: Shares = ()
    after: Shares = ()
    stays: bool = False
    headless: bool = False


def shares(assignment: Assignment) -> Shares:
    """Who answers while everything is healthy: the members of the first priority, by cluster."""
    first = [member for member in assignment.members if member.priority == 0]
    total = sum(member.weight for member in first)
    parts = {member.cluster: fsum(m.weight / total for m in first if m.cluster == member.cluster) for member in first}
    return tuple(sorted(parts.items(), key=lambda item: (-item[1], item[0])))


def move(
    host: tuple[str, str],
    cluster: str,
    endpoints: Sequence[Endpoint],
    assignments: tuple[Assignment, Assignment] | None,
) -> Move:
    """The move of one service; `assignments`: before and after, None for a headless one."""
    namespace, name = host
    here = sum(endpoint.cluster == cluster for endpoint in endpoints)
    found = Move(namespace=namespace, name=name, here=here, elsewhere=len(endpoints) - here)
    if assignments is None:
        return msgspec.structs.replace(found, headless=True, stays=not found.elsewhere)
    before, after = map(shares, assignments)
    stays = not after or any(answers == cluster for answers, _ in after)
    return msgspec.structs.replace(found, before=before, after=after, stays=stays)
