"""The plugin's side of CNI: what it understands, what it refuses, and with which codes (https://www.cni.dev/docs/spec/)."""

import json
from typing import Any

import pytest

from isthmus.cni.protocol import VERSIONS, Call, CniError, Code, error, parse, read_answer, result

PREVIOUS = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "10.0.0.7/24"}]}
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u1",
}


def conf(**changes: Any) -> str:
    made = {"cniVersion": "1.0.0", "name": "net", "type": "isthmus-cni", "prevResult": PREVIOUS, **changes}
    return json.dumps({key: value for key, value in made.items() if value is not None})


def env(**changes: str) -> dict[str, str]:
    return {key: value for key, value in {**ENV, **changes}.items() if value}


def test_the_agent_is_asked_about_the_pod() -> None:
    call = parse(ENV, conf(socket="/s", patience=7))
    assert call.concerns_the_agent
    assert (call.configuration.socket, call.configuration.patience) == ("/s", 7)
    assert call.request() == {
        "op": "add",
        "container": "abc",
        "netns": "/run/netns/x",
        "namespace": "shop",
        "name": "web-1",
        "uid": "u1",
        "addresses": ["10.0.0.7"],
    }


@pytest.mark.parametrize("arguments", ["", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns", "K8S_POD_NAME=web-1"])
def test_others_pass_without_asking(arguments: str) -> None:
    assert not parse(env(CNI_ARGS=arguments), conf(excludeNamespaces=["kube-system"])).concerns_the_agent


@pytest.mark.parametrize("version", VERSIONS)
def test_the_result_before_is_passed_on_in_the_version_asked_for(version: str) -> None:
    call = parse(ENV, conf(cniVersion=version))
    assert json.loads(result(call)) == {**PREVIOUS, "cniVersion": version}


@pytest.mark.parametrize("command", ["DEL", "CHECK", "STATUS", "GC"])
def test_other_commands_print_nothing(command: str) -> None:
    assert result(parse(env(CNI_COMMAND=command), conf())) == ""


def test_version_needs_no_configuration() -> None:
    said = json.loads(result(parse({"CNI_COMMAND": "VERSION"}, "")))
    assert said["supportedVersions"] == list(VERSIONS)
    assert said["cniVersion"] in VERSIONS


def test_the_end_of_a_pod_needs_neither_namespace_nor_result() -> None:
    assert parse(env(CNI_COMMAND="DEL", CNI_NETNS=""), conf(prevResult=None)).command == "DEL"


@pytest.mark.parametrize(
    ("environment", "document", "code"),
    [
        ({}, conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_COMMAND="MEND"), conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_CONTAINERID=""), conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_CONTAINERID="../x"), conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_IFNAME=""), conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_NETNS=""), conf(), Code.INVALID_ENVIRONMENT),
        (env(CNI_COMMAND="CHECK", CNI_NETNS=""), conf(), Code.INVALID_ENVIRONMENT),
        (ENV, "{", Code.NOT_DECODED),
        (ENV, "[]", Code.NOT_DECODED),
        (ENV, conf(cniVersion="0.2.0"), Code.INCOMPATIBLE_VERSION),
        (ENV, conf(cniVersion=None), Code.INCOMPATIBLE_VERSION),
        (ENV, conf(prevResult=None), Code.INVALID_CONFIGURATION),
        (ENV, conf(excludeNamespaces="kube-system"), Code.INVALID_CONFIGURATION),
        (ENV, conf(patience="long"), Code.INVALID_CONFIGURATION),
        (ENV, conf(patience=True), Code.INVALID_CONFIGURATION),
    ],
)
def test_what_is_refused(environment: dict[str, str], document: str, code: int) -> None:
    with pytest.raises(CniError) as refused:
        parse(environment, document)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("command", "answer", "code"),
    [
        ("ADD", {"ok": False, "error": "no certificate", "remedy": "look"}, Code.TRY_AGAIN_LATER),
        ("ADD", {"ok": False, "error": "unknown", "final": True}, Code.NOT_CAPTURED),
        ("STATUS", {"ok": False, "error": "not yet"}, Code.NOT_AVAILABLE),
        ("ADD", {}, Code.TRY_AGAIN_LATER),
    ],
)
def test_a_no_of_the_agent_is_an_error(command: str, answer: dict[str, Any], code: int) -> None:
    call: Call = parse(env(CNI_COMMAND=command), conf())
    with pytest.raises(CniError) as refused:
        read_answer(call, answer)
    said = json.loads(error(refused.value, "1.0.0"))
    assert (said["code"], said["cniVersion"]) == (code, "1.0.0")
    assert answer.get("error", "refused") in said["msg"]
    read_answer(call, {"ok": True})
