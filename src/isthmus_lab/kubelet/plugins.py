"""Runs CNI plugins for the pods of a node and remembers what each was attached with."""

import asyncio
import contextlib
from pathlib import Path

import msgspec

from isthmus_lab.kubelet import cni, images
from isthmus_lab.kubelet.cni import Attachment, CniError, Network, Object, Subject
from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.sandbox import Sandbox

ADD_SECONDS = 90.0
"""How long all plugins of a list together may take to attach a pod."""

DEL_SECONDS = 15.0
"""How long each may take to detach it. Kubernetes would ask for ever; a lab comes to an end."""

_MEMORY = "cni.json"


class Plugins:
    """Attaches pods to networks and detaches them. `directory` holds a directory for each pod, by uid."""

    def __init__(self, config: NodeConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        cni.ensure_own(Path(config.network_configurations))

    async def add(self, pod: Object, box: Sandbox) -> None:
        """Attach a pod whose own network is there; one that is attached already is left as it is.

        CniError: a plugin failed; what the others did is undone.
        """
        meta = pod["metadata"]
        subject = Subject(meta["namespace"], meta["name"], meta["uid"], box.netns)
        known = self._recall(subject.uid)
        if known is not None and known.done:
            return
        network = cni.read_network(Path(self._config.network_configurations))
        plan = self._config.network
        result = cni.own_result(subject, [(box.ip, plan.prefix)], plan.gateway)
        self._remember(Attachment(network, subject, result, done=False))
        try:
            async with asyncio.timeout(ADD_SECONDS):
                for plugin in network.foreign:
                    result = await self._run("ADD", network, plugin, subject, result) or result
        except (CniError, TimeoutError) as error:
            await self._undo(Attachment(network, subject, result, done=False))
            raise error if isinstance(error, CniError) else CniError(f"no answer within {ADD_SECONDS:g} s") from error
        self._remember(Attachment(network, subject, result, done=True))

    async def remove(self, uid: str, *, gone: bool = False) -> list[str]:
        """Detach a pod; what went wrong, in words. `gone`: its namespace is no more. Repeating it does no harm."""
        attachment = self._recall(uid)
        if attachment is None:
            return []
        if gone:
            subject = msgspec.structs.replace(attachment.subject, netns="")
            attachment = msgspec.structs.replace(attachment, subject=subject)
        problems = await self._undo(attachment)
        self._memory(uid).unlink(missing_ok=True)
        return problems

    async def _undo(self, attachment: Attachment) -> list[str]:
        problems = []
        network, subject, result = attachment.network, attachment.subject, attachment.result
        for plugin in reversed(network.foreign):
            try:
                async with asyncio.timeout(DEL_SECONDS):
                    await self._run("DEL", network, plugin, subject, result)
            except CniError as error:
                problems.append(str(error))
            except TimeoutError:
                problems.append(f'plugin type="{plugin["type"]}" failed (del): no answer within {DEL_SECONDS:g} s')
        return problems

    async def _run(
        self, command: str, network: Network, plugin: Object, subject: Subject, previous: Object
    ) -> Object | None:
        name = str(plugin["type"])
        directory = self._config.network_plugins
        told = cni.variables(command, subject, directory)
        try:
            process = await asyncio.create_subprocess_exec(
                cni.find_plugin(name, directory),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**images.base_environment(), "TMPDIR": "/tmp", **told},
                cwd="/",
            )
        except OSError as error:
            raise CniError(f'plugin type="{name}" failed ({command.lower()}): {error.strerror}') from error
        try:
            out, err = await process.communicate(cni.configuration(network, plugin, previous))
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        code = process.returncode or 0
        return cni.outcome(command, name, code=code, stdout=out, stderr=err)

    def _memory(self, uid: str) -> Path:
        return self._directory / uid / _MEMORY

    def _remember(self, attachment: Attachment) -> None:
        self._memory(attachment.subject.uid).write_bytes(msgspec.json.encode(attachment))

    def _recall(self, uid: str) -> Attachment | None:
        try:
            return msgspec.json.decode(self._memory(uid).read_bytes(), type=Attachment)
        except (FileNotFoundError, msgspec.ValidationError, msgspec.DecodeError):
            return None
