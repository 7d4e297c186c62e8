"""`isthmus install`: what it prints, what it refuses, and that a cluster has it afterwards."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.cli.main import main
from isthmus_lab.apiserver.inprocess import Loopback

Json = dict[str, Any]


def install(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of `isthmus install …`."""
    with pytest.raises(SystemExit) as left:
        main(["install", *words])
    said = capsys.readouterr()
    assert left.value.code == code, said.err
    return said.out, said.err


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[Json]:
    return [item for item in yaml.safe_load_all(install(capsys, "--generate", *words)[0]) if item]


def names(manifests: list[Json], kind: str) -> list[str]:
    return [item["metadata"]["name"] for item in manifests if item["kind"] == kind]


def test_generate_prints_the_control_plane(capsys: pytest.CaptureFixture[str]) -> None:
    made = printed(capsys, "--context", "east", "--network", "net-east", "--mesh-id", "m", "--trust-domain", "corp")
    assert names(made, "Deployment") == ["istiod"]
    assert "gateways.networking.istio.io" in names(made, "CustomResourceDefinition")
    assert not [name for name in names(made, "CustomResourceDefinition") if name.endswith(".k8s.io")]
    (pilot,) = [item for item in made if item["kind"] == "Deployment"]
    env = {item["name"]: item.get("value") for item in pilot["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["CLUSTER_ID"], env["NETWORK"], env["MESH_ID"], env["TRUST_DOMAIN"]) == ("east", "net-east", "m", "corp")


def test_a_gateway_comes_beside_or_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cluster", "east", "--network", "n", "--gateway", "eastwest")
    assert names(printed(capsys, *words), "Deployment") == ["istiod", "istio-eastwestgateway"]
    alone = printed(capsys, *words, "--profile", "gateway", "--gateway-replicas", "2", "--pod-annotation", "a=b=c")
    (deployment,) = [item for item in alone if item["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {"a": "b=c"}


def test_images_and_definitions_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    made = printed(capsys, "--cluster", "e", "--hub", "example.com/mesh/", "--tag", "1.0", "--no-crds")
    (pilot,) = [item for item in made if item["kind"] == "Deployment"]
    container = pilot["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "example.com/mesh/pilot:1.0"
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert (env["PROXY_IMAGE"], env["INIT_IMAGE"]) == ("example.com/mesh/proxy:1.0", "example.com/mesh/init:1.0")
    assert names(made, "CustomResourceDefinition") == []
    with_gateway_api = printed(capsys, "--cluster", "e", "--gateway-api")
    assert "httproutes.gateway.networking.k8s.io" in names(with_gateway_api, "CustomResourceDefinition")


def test_a_gateway_exposes_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--gateway", "eastwest", "--network", "n", "--generate", "--profile", "gateway")
    hosts = []
    for more in ((), ("--expose", "web.shop.svc.cluster.local", "--expose", "*.shared.svc.cluster.local")):
        out, _ = install(capsys, *words, *more)
        (made,) = [item for item in yaml.safe_load_all(out) if item["kind"] == "Gateway"]
        hosts.append(made["spec"]["servers"][0]["hosts"])
    assert hosts == [["*.local"], ["web.shop.svc.cluster.local", "*.shared.svc.cluster.local"]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gateway", "eastwest"], "needs the name of its network. Add --network"),
        (["--profile", "gateway"], "needs the name of its network. Add --network"),
        (["--profile", "remote"], "a remote cluster needs a control plane elsewhere. Add --served-by"),
        (["--profile", "remote", "--served-by", "east"], "--served-by: 'east' is not <name>=<address>"),
        (["--profile", "remote", "--served-by", "a=1.1.1.1", "--served-by", "a=1.1.1.2"], "is there twice"),
        (["--profile", "remote", "--served-by", "a=h1.x,h2.x"], "several addresses, not all of them IP addresses"),
        (["--profile", "external"], "Name it: --config-cluster"),
        (["--served-by", "a=1.1.1.1", "--profile", "external"], "--served-by has no meaning in profile external"),
        (["--injection-url", "https://x"], "It is for profile remote"),
        (["--expose-control-plane"], "--expose-control-plane needs a gateway"),
        (["--profile", "remote", "--served-by", "a=1.1.1.1", "--cluster", "Not_Dns"], "in the path of a webhook"),
        (["--cluster", "a b"], "--cluster: 'a b' is no name"),
        (
            ["--gateway", "eastwest", "--network", "n", "--pod-annotation", "x"],
            "--pod-annotation: 'x' is not key=value",
        ),
        (["--gateway", "eastwest", "--network", "n", "--expose", "a b"], "--expose: 'a b' is no host"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    _, error = install(capsys, *words, "--generate", code=2)
    assert says in error


def test_a_cluster_has_it_afterwards_and_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with Loopback(tmp_path) as server:
        words = ("--kubeconfig", str(server.kubeconfig), "--cluster", "east", "--network", "n", "--gateway", "eastwest")
        for _ in range(2):
            out, _ = install(capsys, *words, "--no-wait")
            assert "applied Deployment istiod\n" in out
            assert "applied Gateway cross-network-gateway\n" in out
        _, error = install(capsys, *words, "--timeout", "1", code=3)
        assert (
            "Deployment istiod is not ready after 1 s. See kubectl describe deployment -n istio-system istiod" in error
        )


def one(manifests: list[Json], kind: str, name: str) -> Json:
    (found,) = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def environment(manifests: list[Json], deployment: str) -> dict[str, str]:
    (container,) = one(manifests, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


def test_a_remote_with_two_control_planes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cluster", "west", "--network", "net-west", "--profile", "remote", "--gateway", "eastwest")
    made = printed(capsys, *words, "--served-by", "east=203.0.113.7,203.0.113.8", "--served-by", "north=istiod.example")
    assert names(made, "Deployment") == ["istio-eastwestgateway"]
    assert names(made, "Gateway") == []
    assert set(names(made, "Service")) == {"istiod", "istiod-north", "istio-eastwestgateway"}
    system = one(made, "Namespace", "istio-system")["metadata"]
    assert system["annotations"] == {"topology.istio.io/controlPlaneClusters": "east"}
    both = "istiod.istio-system.svc:15012,istiod-north.istio-system.svc:15012"
    assert environment(made, "istio-eastwestgateway")["PILOT_ADDRESS"] == both
    hooks = one(made, "MutatingWebhookConfiguration", "istio-sidecar-injector")["webhooks"]
    assert "/discovery/istiod-north.istio-system.svc" in hooks[0]["clientConfig"]["service"]["path"]


def test_a_primary_that_serves_others_and_turns_to_another(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cluster", "east", "--network", "n", "--gateway", "eastwest", "--expose-control-plane")
    made = printed(capsys, *words, "--name", "shared", "--served-by", "north=203.0.113.9")
    assert set(names(made, "Gateway")) == {"cross-network-gateway", "istiod-gateway"}
    found = environment(made, "istiod")
    assert found["PILOT_ADDRESS"] == "istiod.istio-system.svc:15012,istiod-north.istio-system.svc:15012"
    assert found["ISTIOD_CUSTOM_HOST"] == "istiod-shared.istio-system.svc"


def test_an_external_control_plane_and_its_config_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--profile", "external", "--cluster", "management", "--config-cluster", "east")
    made = printed(capsys, *words, "--custom-host", "istiod.example", "--service-annotation", "a=b")
    assert names(made, "CustomResourceDefinition") == []
    service = one(made, "Service", "istiod")
    assert (service["spec"]["type"], service["metadata"]["annotations"]) == ("LoadBalancer", {"a": "b"})
    assert environment(made, "istiod")["CLUSTER_ID"] == "east"
    served = printed(capsys, "--profile", "remote", "--cluster", "east", "--config", "--served-by", "ext=203.0.113.7")
    assert "istiod" in names(served, "ServiceAccount")


@pytest.mark.parametrize(
    "words",
    [
        ("--cluster", "west", "--profile", "remote", "--served-by", "east=203.0.113.7", "--served-by", "n=2001:db8::1"),
        ("--cluster", "west", "--profile", "remote", "--config", "--served-by", "east=istiod.example.com"),
        ("--cluster", "management", "--profile", "external", "--config-cluster", "east"),
        ("--cluster", "east", "--network", "n", "--gateway", "eastwest", "--expose-control-plane"),
        ("--cluster", "east", "--network", "n", "--profile", "gateway", "--no-crds"),
    ],
    ids=lambda words: " ".join(words[2:6]),
)
def test_what_is_printed_applies(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    """Twice: the second time changes nothing. The gateway alone comes to a cluster that has the definitions."""
    with Loopback(tmp_path) as server:
        kubeconfig = ("--kubeconfig", str(server.kubeconfig))
        if "--no-crds" in words:
            install(capsys, *kubeconfig, "--cluster", "east", "--no-wait")
        for _ in range(2):
            out, _ = install(capsys, *kubeconfig, *words, "--no-wait")
            assert out.count("applied ") == len(printed(capsys, *words))
