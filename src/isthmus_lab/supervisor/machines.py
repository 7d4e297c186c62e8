"""Machines beside the clusters: given their files as a user would, started, watched."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from isthmus.base.errors import UnreachableError
from isthmus.base.labels import NETWORK_LABEL
from isthmus.install import machine as install
from isthmus.install.values import ROOT_CONFIG_MAP, SYSTEM_NAMESPACE
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.machine.config import MachineConfig, save
from isthmus_lab.net.plan import MachinePlan, Plan
from isthmus_lab.supervisor import mesh, roles
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.supervisor.processes import Processes, Program
from isthmus_lab.supervisor.progress import Progress
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import MACHINES, Machine, World

Object = dict[str, Any]
_SECONDS = 60.0
_POLL = 0.2
_TOKEN_SECONDS = 3600
_ASK = 2.0


class Machines:
    """All machines of a lab. Paths are inside ones."""

    def __init__(
        self, world: World, plan: Plan, state: StateDirectory, clusters: dict[str, ClusterControl], processes: Processes
    ) -> None:
        self._world = world
        self._plans = {plan.name: plan for plan in plan.machines}
        self._state = state
        self._clusters = clusters
        self._processes = processes
        self._started: set[str] = set()

    async def start(self, progress: Progress) -> None:
        """Start every machine, those of the mesh with fresh files. UnreachableError: its cluster gave none."""
        for machine in self._world.machines:
            labels: dict[str, str] = {}
            if machine.group:
                group = await self._configure(machine)
                labels = install.read_group(group).labels
            plan = self._plans[machine.name]
            config = self._config(machine, plan, labels)
            save(config, self._directory(machine.name) / "machine.json")
            self._processes.start(self._program(plan))
            self._started.add(machine.name)
        if self._world.machines:
            await progress.say(f"machines: {' '.join(machine.name for machine in self._world.machines)}")

    def _directory(self, name: str) -> Path:
        return self._state.node(MACHINES, name)

    def _config(self, machine: Machine, plan: MachinePlan, labels: dict[str, str]) -> MachineConfig:
        return MachineConfig(
            name=machine.name,
            namespace=machine.group.partition("/")[0],
            ip=plan.ip,
            wan_ip=plan.wan_ip,
            directory=str(self._directory(machine.name)),
            run=[list(command) for command in machine.run],
            env=dict(machine.env),
            names=names(self._world, list(self._plans.values()), machine.network),
            labels=labels,
            joins=bool(machine.group),
        )

    def _program(self, plan: MachinePlan) -> Program:
        directory = self._directory(plan.name)
        argv = (sys.executable, "-m", "isthmus_lab.machine", str(directory / "machine.json"))
        log = str(directory / "runtime.log")
        return Program(name=f"{MACHINES}/{plan.name}", argv=argv, netns=plan.netns, log=log, whole_node=True)

    # What `isthmus workload entry configure` does, over the lab's own socket.

    async def _configure(self, machine: Machine) -> Object:
        """Write the files of a machine; its WorkloadGroup."""
        cluster = self._clusters[machine.cluster]
        try:
            async with asyncio.timeout(_SECONDS):
                while True:
                    try:
                        return await self._attempt(machine, cluster)
                    except (_NotYetError, ApiError):
                        await asyncio.sleep(_POLL)
        except TimeoutError:
            message = (
                f"machine {machine.name}: cluster {machine.cluster} has no WorkloadGroup {machine.group}, or none "
            )
            raise UnreachableError(message + "of its service account, roots, gateway", "Add what is missing") from None

    async def _attempt(self, machine: Machine, cluster: ClusterControl) -> Object:
        namespace, _, name = machine.group.partition("/")
        client = cluster.client
        group = await client.get(f"/apis/networking.istio.io/v1/namespaces/{namespace}/workloadgroups/{name}")
        found = install.read_group(group)
        core = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}"
        roots = (await client.get(f"{core}/configmaps/{ROOT_CONFIG_MAP}")).get("data", {}).get("root-cert.pem", "")
        addresses = await mesh.addresses_of(cluster, roles.GATEWAY_SERVICE)
        if not roots or not addresses:
            raise _NotYetError
        config = yaml.safe_load((await client.get(f"{core}/configmaps/istio"))["data"].get("mesh") or "{}") or {}
        labels = (await client.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}"))["metadata"].get("labels") or {}
        account = f"/api/v1/namespaces/{found.namespace}/serviceaccounts/{found.service_account}"
        token = (await client.post(f"{account}/token", install.token_request(_TOKEN_SECONDS)))["status"]["token"]
        values = install.MachineValues(
            cluster=machine.cluster,
            group=group,
            addresses=addresses,
            network=found.network or str(labels.get(NETWORK_LABEL, "")),
            mesh_id=self._world.mesh_id,
            trust_domain=str(config.get("trustDomain") or self._world.cluster(machine.cluster).trust_domain),
            internal_ip=self._plans[machine.name].ip,
        )
        _write(Path(self._directory(machine.name), "mesh"), install.files(values, roots=roots, token=token))
        return group

    # How they are.

    async def unready(self) -> list[str]:
        """Machines that are not ready, in words."""
        words = []
        for machine in self._world.machines:
            if machine.name not in self._started:
                words.append(f"machine {machine.name} is not started yet")
                continue
            found = await self.ask(machine.name)
            if found is None or not found["ready"]:
                why = "; ".join(found["troubles"]) if found else "it does not answer"
                words.append(f"machine {machine.name} is not ready ({why or 'its proxy is not'})")
        return words

    async def status(self) -> dict[str, Object]:
        """Every machine: where it is, and how."""
        found = {}
        for machine in self._world.machines:
            plan = self._plans[machine.name]
            found[machine.name] = {
                "network": machine.network,
                "cluster": machine.cluster,
                "group": machine.group,
                "ip": plan.ip,
                "wanIP": plan.wan_ip,
                **({"ready": False, "pids": {}, "troubles": []} | (await self.ask(machine.name) or {})),
            }
        return found

    async def ask(self, name: str) -> Object | None:
        """What a machine says of itself; None if it is dead."""
        path = str(self._directory(name) / "kubelet.sock")
        try:
            async with asyncio.timeout(_ASK):
                reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
                try:
                    writer.write(b'{"pods": {}}\n')
                    answer: Object = json.loads(await reader.readline() or b"{}")
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return None
        pods = answer.get("pods") or [None]
        return pods[0] if isinstance(pods[0], dict) else None


class _NotYetError(Exception):
    """Something that a machine's files are made of is missing."""


def names(world: World, plans: list[MachinePlan], network: str) -> dict[str, list[str]]:
    """The names of machines, as those on a network reach them: directly, or on the WAN."""
    by_name = {plan.name: plan for plan in plans}
    found: dict[str, list[str]] = {}
    for machine in world.machines:
        plan = by_name[machine.name]
        address = plan.ip if machine.network == network else plan.wan_ip
        for host in machine.hosts if address else ():
            found.setdefault(host, []).append(address)
    return found


def _write(directory: Path, found: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        fresh = directory / f".{name}"
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        shutil.move(fresh, directory / name)
