"""Envoy's bootstrap: what the control plane learns of the node, and that Envoy accepts it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from isthmus.agent.bootstrap import build_bootstrap, build_node
from isthmus.edge.envoy_process import envoy_binary
from isthmus.envoy.rbac import network_filters
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyRule
from tests.agent.test_settings import ENV, parse


def test_node() -> None:
    settings = parse({"ISTIO_META_WORKLOAD_NAME": "sleep", "ISTIO_META_CLUSTER_ID": "east"})
    node = build_node(settings, version="0.1.0")
    assert (node["id"], node["cluster"]) == (settings.node_id, "sleep.sample")
    assert node["metadata"] == {
        "CLUSTER_ID": "east",
        "INSTANCE_IPS": "10.0.0.5",
        "ISTIO_VERSION": "0.1.0",
        "LABELS": {"app": "sleep"},
        "NAME": "sleep-1",
        "NAMESPACE": "sample",
        "NETWORK": "network-east",
        "NODE_NAME": "east-a",
        "POD_PORTS": ENV["ISTIO_META_POD_PORTS"],
        "SERVICE_ACCOUNT": "sleep",
        "WORKLOAD_NAME": "sleep",
    }


def test_a_pod_cannot_claim_another_name_by_metadata() -> None:
    node = build_node(parse({"ISTIO_META_NAMESPACE": "kube-system", "ISTIO_META_SERVICE_ACCOUNT": "root"}), version="1")
    assert (node["metadata"]["NAMESPACE"], node["metadata"]["SERVICE_ACCOUNT"]) == ("sample", "sleep")


def addresses(bootstrap: dict[str, Any]) -> dict[int, str]:
    """Port to address of everything that the bootstrap listens on."""
    listeners = bootstrap["static_resources"]["listeners"]
    sockets = [bootstrap["admin"]["address"], *(listener["address"] for listener in listeners)]
    sockets += [extra["address"] for listener in listeners for extra in listener.get("additional_addresses", ())]
    return {socket["socket_address"]["port_value"]: socket["socket_address"]["address"] for socket in sockets}


def test_only_readiness_is_reachable_from_outside() -> None:
    assert addresses(build_bootstrap(parse(), version="1")) == {
        15000: "127.0.0.1",
        15020: "127.0.0.1",
        15021: "0.0.0.0",
        15090: "127.0.0.1",
    }


def test_envoy_accepts_it(tmp_path: Path) -> None:
    """`--mode validate` reads the whole configuration, and warnings would be printed."""
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(build_bootstrap(parse(), version="1")))
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(file), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


def test_envoy_takes_identities_of_any_length_in_policies(tmp_path: Path) -> None:
    """Its own limit on expressions is about 100 characters: a policy that it refuses protects nobody."""
    rule = PolicyRule(sources=((Condition("source.serviceAccount", (f"{'n' * 63}/{'s' * 253}",)),),))
    (guard,) = network_filters([AuthorizationPolicy(cluster="east", namespace="a", name="x", rules=(rule,))])
    config = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"
    last = {"name": "envoy.filters.network.direct_response", "typed_config": {"@type": config}}
    bootstrap = build_bootstrap(parse(), version="1")
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    bootstrap["static_resources"]["listeners"].append(
        {"name": "guarded", "address": address, "filter_chains": [{"filters": [MessageToDict(guard), last]}]}
    )
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(bootstrap))
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(file), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
