"""Requests of a kubelet, and what is remembered of them."""

from pathlib import Path

import msgspec
import pytest

from isthmus.agent.requests import GetStatus, ListProxies, Memory, Request, Shutdown, Start, Stop

START = Start(id="uid/istio-proxy", args=["proxy", "sidecar"], env={"POD_NAME": "a"}, mounts={"/var/run/isthmus": "/x"})


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (
            '{"op":"start","id":"uid/istio-proxy","args":["proxy","sidecar"],"env":{"POD_NAME":"a"},'
            '"mounts":{"/var/run/isthmus":"/x"},"new":1}',
            START,
        ),
        ('{"op":"stop","id":"a","graceSeconds":7}', Stop(id="a", grace_seconds=7)),
        ('{"op":"stop","id":"a"}', Stop(id="a")),
        ('{"op":"status","id":"a"}', GetStatus(id="a")),
        ('{"op":"list"}', ListProxies()),
        ('{"op":"shutdown","graceSeconds":1}', Shutdown(grace_seconds=1)),
    ],
)
def test_requests(line: str, request_: Request) -> None:
    assert msgspec.json.decode(line, type=Request) == request_


@pytest.mark.parametrize("line", ["", "{}", '{"op":"reboot"}', '{"op":"stop"}', '{"op":"start","id":"a"}'])
def test_what_is_no_request(line: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line, type=Request)


def test_another_log_file_is_the_same_proxy() -> None:
    assert msgspec.structs.replace(START, log="/other").essence == START.essence
    assert msgspec.structs.replace(START, netns="/run/netns/b").essence != START.essence


def test_memory_survives_and_forgets(tmp_path: Path) -> None:
    directory = tmp_path / "proxies"
    memory = Memory(directory)
    assert memory.load() == []
    other = msgspec.structs.replace(START, id="uid/other")
    memory.keep(START)
    memory.keep(other)
    memory.keep(other)
    (directory / "broken.json").write_text("{")
    assert sorted(request.id for request in Memory(directory).load()) == ["uid/istio-proxy", "uid/other"]
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    memory.drop(START.id)
    memory.drop("unknown")
    assert Memory(directory).load() == [other]
