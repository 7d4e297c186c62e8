"""What the parts of one API server share."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from isthmus_lab.apiserver.dependents import Dependents
from isthmus_lab.apiserver.objects import Clock
from isthmus_lab.apiserver.resources import Registry
from isthmus_lab.apiserver.store import Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so no words


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one cluster. Addresses are `ip:port` or URLs as the command line takes them."""

    cluster: str
    data_dir: Path
    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = ""
    advertise: str = ""  # URL on the WAN, published in kube-public/cluster-info
    advertise_network: str = ""  # URL inside the cluster's network, behind the kubernetes Service
    kubelet_dir: Path | None = None
    history: int = 2048  # changes of each resource that a watch can still ask for, at least


@dataclass(slots=True, kw_only=True)
class State:
    """Store, registry, time and randomness. Everything runs in one event loop."""

    settings: Settings
    store: Store
    registry: Registry
    clock: Clock
    rng: random.Random = field(default_factory=random.SystemRandom)
    dependents: Dependents = field(init=False)

    def __post_init__(self) -> None:
        self.dependents = Dependents(self.store)

    def new_uid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def suffix(self) -> str:
        """Five characters for generateName."""
        return "".join(self.rng.choice(_SUFFIX) for _ in range(5))
