"""Clusters that control planes elsewhere serve: what scenarios of several examples look at."""

import json
import subprocess
import sys

from tests.lab.harness import Lab, eventually

ROOT_CONFIG_MAP = "istio-ca-root-cert"


def roots(lab: Lab, cluster: str, namespace: str = "sample") -> str:
    """The roots that workloads of a namespace trust; empty if nobody wrote any."""
    done = lab.try_kubectl(cluster, "get", "configmap", "-n", namespace, ROOT_CONFIG_MAP, "-o", "json")
    return str(json.loads(done.stdout)["data"]["root-cert.pem"]) if done.returncode == 0 else ""


def connected(lab: Lab, where: str) -> set[tuple[str, str]]:
    """(workload, cluster) of the proxies that the control plane running in a cluster serves now."""
    done = lab.run("proxy-status", "--context", where, "-o", "json", check=False)
    if done.returncode:
        return set()
    lines = json.loads(done.stdout)
    return {(line["proxy"].partition(".")[0].rsplit("-", 2)[0], line["cluster_id"]) for line in lines}


def served_by(lab: Lab, where: str, clusters: set[str], within: float = 40) -> None:
    """Wait until the control plane in `where` serves the client `sleep` of each of these clusters."""
    wanted = {("sleep", cluster) for cluster in clusters}
    what = f"the control plane in {where} serves sleep of {sorted(clusters)}"
    eventually(lambda: wanted <= connected(lab, where), within=within, what=what, every=0.5)


def control_plane_addresses(lab: Lab, cluster: str, service: str = "istiod") -> list[str]:
    """Where a cluster's Service for a control plane elsewhere leads."""
    label = f"kubernetes.io/service-name={service}"
    slices = lab.get(cluster, "endpointslices", "-n", "istio-system", "-l", label)["items"]
    return [address for piece in slices for end in piece["endpoints"] for address in end["addresses"]]


def environment(lab: Lab, cluster: str, selector: str) -> dict[str, str]:
    """What an injected proxy of namespace sample was told."""
    pod = lab.get(cluster, "pods", "-n", "sample", "-l", selector)["items"][0]
    (proxy,) = [c for c in pod["spec"]["initContainers"] if c["name"] == "istio-proxy"]
    return {item["name"]: item.get("value", "") for item in proxy["env"]}


CERTIFICATE = """
import socket, ssl, sys
host, port, name, roots = sys.argv[1:]
context = ssl.create_default_context(cadata=roots)
with socket.create_connection((host, int(port)), timeout=5) as raw:
    with context.wrap_socket(raw, server_hostname=name) as connection:
        print(connection.version())
"""


def handshake(lab: Lab, workload: str, address: str, port: int, *, name: str) -> "subprocess.CompletedProcess[str]":
    """TLS from inside a pod: exit code 0 if the server proves this name under the mesh's root."""
    cluster = workload.partition("/")[0]
    words = (sys.executable, "-c", CERTIFICATE, address, str(port), name, roots(lab, cluster))
    return lab.exec(workload, *words, check=False)
