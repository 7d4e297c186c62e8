"""How the scenarios speak to a lab: through the commands a user has, and through the API servers."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus_lab.kubelet.client import ApiClient
from isthmus_lab.supervisor.state import StateDirectory, connectable
from tests.lab.mini_kubectl import MiniKubectl, parse

REPOSITORY = Path(__file__).parent.parent.parent
PROBE = str(Path(__file__).parent / "probe.py")
HELLO = "http://helloworld.sample:5000/hello"
CLIENT = "east/sample/sleep"
PLAIN = "east/plain/sleep-plain"
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
LOAD = ("--rate", "50", "--concurrency", "20", "--count")
"""Options of the load client for 50 requests per second; the number of requests follows."""
KUBECTL = shutil.which(os.environ.get("KUBECTL", "kubectl"))
"""The kubectl on PATH, another one by the variable; None: what stands in for it is used."""
ISTHMUS = str(Path(sys.executable).parent / "isthmus")


def eventually(condition: Callable[[], Any], *, within: float, what: str, every: float = 0.2) -> Any:
    """Wait until the condition holds, at most `within` seconds, and return what it returned."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}; last seen: {value!r}")
        time.sleep(every)


@dataclass(frozen=True)
class Call:
    """One request of the load client."""

    ok: bool
    status: int
    cluster: str
    version: str
    identity: str
    at: float
    error: str


@dataclass
class Calls:
    """What a run of the load client brought."""

    calls: list[Call] = field(default_factory=list)

    @property
    def failures(self) -> list[Call]:
        """The requests without a good answer."""
        return [call for call in self.calls if not call.ok]

    def share(self, cluster: str) -> float:
        """Which part of the good answers a cluster gave, in percent."""
        good = [call for call in self.calls if call.ok]
        return 100 * sum(call.cluster == cluster for call in good) / len(good) if good else 0.0

    @property
    def clusters(self) -> Counter[str]:
        """Good answers by cluster."""
        return Counter(call.cluster for call in self.calls if call.ok)

    @property
    def versions(self) -> Counter[str]:
        """Good answers by the version of who answered."""
        return Counter(call.version for call in self.calls if call.ok)

    @property
    def identities(self) -> set[str]:
        """The client identities that the servers were shown."""
        return {call.identity for call in self.calls if call.ok}


@dataclass(frozen=True)
class Way:
    """Calls that took the same way: who answered, through which gateway ("" is direct), as whom the caller was seen."""

    calls: int
    cluster: str
    pod: str
    gateway: str
    identity: str


class Lab:
    """A running lab, driven as a user drives it."""

    def __init__(self, example: str, state: Path) -> None:
        self.name = example
        self.example = REPOSITORY / "examples" / example
        self.state = state
        self.kubeconfig = state.parent / "kubeconfig"
        self._stand_ins: dict[str, MiniKubectl] = {}

    def run(
        self, *words: str, check: bool = True, within: float = 120, stdin: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run `isthmus …` against this lab."""
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1", "COLUMNS": "200"}
        done = subprocess.run(
            [ISTHMUS, *words], input=stdin, capture_output=True, text=True, timeout=within, env=environment, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"isthmus {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def lab(
        self, verb: str, *words: str, check: bool = True, within: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run `isthmus lab VERB --state-dir … …`."""
        return self.run("lab", verb, "--state-dir", str(self.state), *words, check=check, within=within)

    def up(self) -> None:
        """Start it and write the kubeconfig."""
        self.lab("up", str(self.example), within=180)
        self.kubeconfig.write_text(self.lab("kubeconfig").stdout)
        self.kubeconfig.chmod(0o600)

    def down(self) -> None:
        """Stop it; nothing stays behind."""
        self.lab("down", "--purge", check=False, within=60)

    def status(self) -> dict[str, Any]:
        """`isthmus lab status -o json`."""
        decoded: dict[str, Any] = json.loads(self.lab("status", "-o", "json").stdout)
        return decoded

    def exec(
        self, workload: str, *command: str, check: bool = True, within: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a workload (`cluster/namespace/name` or `cluster/name`)."""
        return self.lab("exec", workload, "--", *command, check=check, within=within)

    def command(self, workload: str, url: str, options: tuple[str, ...]) -> list[str]:
        """The load client's command line."""
        return [
            ISTHMUS, "lab", "exec", "--state-dir", str(self.state), workload, "--",
            sys.executable, "-m", "isthmus_lab.apps.call", url, "-o", "json", *options,
        ]  # fmt: skip

    def call(self, workload: str, url: str, *options: str, within: float = 180) -> Calls:
        """Run the load client in a workload and wait for its report."""
        with self.calling(workload, url, *options, within=within) as calls:
            pass
        return calls

    @contextmanager
    def calling(self, workload: str, url: str, *options: str, within: float = 180) -> Iterator[Calls]:
        """Run the load client while the body runs; its report is complete after the body."""
        calls = Calls()
        with subprocess.Popen(
            self.command(workload, url, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client:
            try:
                yield calls
                output, errors = client.communicate(timeout=within)
            finally:
                client.kill()
        if not output.strip():
            raise AssertionError(f"the load client said nothing: {errors}")
        calls.calls = [parsed(item) for item in json.loads(output)["calls"]]

    def ways(self, workload: str, url: str, count: int = 12, *options: str) -> list[Way]:
        """The ways that calls take, read from the logs of the servers' proxies (`isthmus lab call --hops`)."""
        done = self.lab("call", workload, url, "--count", str(count), "--hops", "-o", "json", *options)
        return [way_of(hop) for hop in json.loads(done.stdout)["hops"]]

    def answered_by(self, workload: str, url: str, clusters: set[str], *options: str, within: float = 30) -> Calls:
        """Wait until these clusters and no others answer, without a failure; returns those calls."""
        found: list[Calls] = []

        def good() -> bool:
            found.append(self.call(workload, url, *(options or ("--count", "24"))))
            return not found[-1].failures and set(found[-1].clusters) == clusters

        eventually(good, within=within, what=f"{workload} is answered at {url} by {sorted(clusters)} alone")
        return found[-1]

    def refused(self, workload: str, url: str, within: float = 20) -> None:
        """Wait until no call gets a good answer."""

        def nobody() -> bool:
            calls = self.call(workload, url, "--count", "3", "--timeout", "2")
            return len(calls.failures) == len(calls.calls)

        eventually(nobody, within=within, what=f"{workload} gets no answer at {url}")

    def killed(self, *targets: str) -> AbstractContextManager[None]:
        """Parts are dead while the body runs (`isthmus lab kill`); afterwards they are back and ready."""
        return self._broken("kill", targets)

    def cut(self, *networks: str) -> AbstractContextManager[None]:
        """The WAN between networks is cut while the body runs (`isthmus lab partition`)."""
        return self._broken("partition", (networks,))

    @contextmanager
    def _broken(self, verb: str, targets: Iterable[str | tuple[str, ...]]) -> Iterator[None]:
        every = [target if isinstance(target, tuple) else (target,) for target in targets]
        try:
            for words in every:
                self.lab(verb, *words)
            yield
        finally:
            for words in every:
                self.lab("restore", *words)
            self.lab("up", str(self.example), within=180)

    def under_load(self, workload: str, url: str, seconds: float, *, rate: int = 50) -> AbstractContextManager[Calls]:
        """Calls at a steady rate while the body runs, at least for `seconds`; complete after the body."""
        count = ("--rate", str(rate), "--concurrency", "20", "--count", str(int(seconds * rate)))
        return self.calling(workload, url, *count)

    def try_kubectl(self, cluster: str, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run kubectl against a cluster of the lab, or what stands in for it where there is none."""
        if KUBECTL is None:
            return self._without_kubectl(cluster, words, stdin)
        return subprocess.run(
            [KUBECTL, "--kubeconfig", str(self.kubeconfig), "--context", cluster, *words],
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def _without_kubectl(self, cluster: str, words: tuple[str, ...], stdin: str) -> "subprocess.CompletedProcess[str]":
        cut = words.index("--") if "--" in words else len(words)
        parsed = parse(words[:cut])
        verb, *names = parsed.plain
        target = "/".join([cluster, parsed.namespace, *(name.rpartition("/")[2] for name in names[:1])])
        if verb == "exec":
            return self.exec(target, *words[cut + 1 :], check=False)
        if verb == "logs":
            container = ("-c", parsed.flags["c"]) if "c" in parsed.flags else ()
            return self.lab("logs", target, *container, check=False)
        if cluster not in self._stand_ins:
            state = StateDirectory(self.state)
            client = ApiClient(connectable(state.api_socket(cluster)), state.system_token(cluster))
            self._stand_ins[cluster] = MiniKubectl(client)
        return self._stand_ins[cluster].run(*words, stdin=stdin)

    def kubectl(self, cluster: str, *words: str, stdin: str = "") -> str:
        """What kubectl prints; AssertionError with its words if it fails."""
        done = self.try_kubectl(cluster, *words, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def get(self, cluster: str, *words: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl(cluster, "get", *words, "-o", "json"))
        return found

    def pids(self) -> set[int]:
        """Processes of this machine that belong to this lab: those whose environment or command names its state."""
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._mine(entry):
                found.add(int(entry.name))
        return found

    def programs(self, mark: str) -> dict[str, int]:
        """The lab's kubelets and node agents whose command line has `mark`: name -> pid on this machine."""
        found = {}
        for pid in self.pids():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if mark in command and "isthmus-lab-kubelet" in command:
                found["kubelet"] = pid
            elif mark in command and " agent node" in command:
                found["agent"] = pid
        return found

    def _mine(self, process: Path) -> bool:
        try:
            mounts = process.joinpath("mountinfo").read_text()
        except OSError:
            return False
        return f"{self.state} /run/lab " in mounts

    def ask(self, cluster: str, path: str) -> str:
        """What the cluster's control plane answers to GET of one of its pages."""
        command = ("--", "isthmus", "debug", "request", "GET", path)
        return self.kubectl(cluster, "exec", "-n", "istio-system", "deploy/istiod", *command)

    def probe(self, workload: str, *words: str) -> str:
        """What one attempt from inside a pod met (see probe.py)."""
        return str(json.loads(self.exec(workload, sys.executable, PROBE, *words).stdout)["outcome"])

    def steady(self) -> None:
        """Wait until both clusters answer east/sleep in their shares, without a failure."""

        def good() -> bool:
            calls = self.call(CLIENT, HELLO, "--count", "40")
            return not calls.failures and abs(calls.share("west") - 25) < 12

        eventually(good, within=60, what="both clusters answer east/sleep")

    def remote_clusters(self, cluster: str) -> list[dict[str, Any]]:
        """`isthmus remote-clusters --context … -o json`."""
        rows: list[dict[str, Any]] = json.loads(self.run("remote-clusters", "--context", cluster, "-o", "json").stdout)
        return rows


def way_of(hop: dict[str, Any]) -> Way:
    """One row of `isthmus lab call --hops -o json`."""
    cluster, _, pod = str(hop["pod"]).partition("/")
    gateway = str(hop["path"]).removeprefix("through gateway ")
    return Way(int(hop["calls"]), cluster, pod, "" if gateway == "direct" else gateway, str(hop["identity"]))


def parsed(item: dict[str, Any]) -> Call:
    """One entry of the load client's report."""
    body = item.get("body") or {}
    status = int(item.get("status") or 0)
    return Call(
        ok=status == 200,
        status=status,
        cluster=str(body.get("cluster", "")),
        version=str(body.get("version", "")),
        identity=str(body.get("identity", "")),
        at=float(item.get("start", 0.0)),
        error=str(item.get("error") or ""),
    )
