"""proxy-config with a dump in a file, as a bug report has it, and with a proxy's answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import ExitCode
from isthmus.cli import main as cli
from isthmus.cli import proxy_config

ADMIN = "type.googleapis.com/envoy.admin.v3."
CLUSTERS = {
    "@type": ADMIN + "ClustersConfigDump",
    "dynamic_active_clusters": [
        {"cluster": {"name": "outbound|80||a.b", "type": "EDS"}},
        {"cluster": {"name": "outbound|90||c.d", "type": "EDS"}},
    ],
}
ADDRESS = {"socket_address": {"address": "0.0.0.0", "port_value": 80}}
LISTENERS = {
    "@type": ADMIN + "ListenersConfigDump",
    "static_listeners": [{"listener": {"name": "l", "address": ADDRESS, "filter_chains": [{}]}}],
}
ROUTES = {
    "@type": ADMIN + "RoutesConfigDump",
    "static_route_configs": [{"route_config": {"name": "80", "virtual_hosts": [{"name": "h", "domains": ["*"]}]}}],
}
SECRETS = {"@type": ADMIN + "SecretsConfigDump", "dynamic_active_secrets": [{"name": "default", "secret": {}}]}
DUMP = {"configs": [CLUSTERS, LISTENERS, ROUTES, SECRETS]}
HOST = {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}}
STATUSES = {"cluster_statuses": [{"name": "outbound|80||a.b", "host_statuses": [HOST]}, {"name": "empty"}]}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["proxy-config", *arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("command", "document", "rows"),
    [
        (["cluster"], DUMP, [["a.b", "80", "-", "outbound", "EDS"], ["c.d", "90", "-", "outbound", "EDS"]]),
        (["c", "--fqdn", "a.b"], DUMP, [["a.b", "80", "-", "outbound", "EDS"]]),
        (["clusters", "--port", "90"], DUMP, [["c.d", "90", "-", "outbound", "EDS"]]),
        (["endpoint"], STATUSES, [["10.0.0.1:8080", "HEALTHY", "OK", "outbound|80||a.b", "0", "1", "-"]]),
        (["ep", "--address", "10.0.0.2"], STATUSES, []),
        (["ep", "--address", "10.0.0.1", "--port", "8080", "--cluster", "a.b", "--status", "healthy"], STATUSES,
         [["10.0.0.1:8080", "HEALTHY", "OK", "outbound|80||a.b", "0", "1", "-"]]),
        (["ep", "--port", "1"], STATUSES, []),
        (["ep", "--status", "unhealthy"], STATUSES, []),
        (["listener"], DUMP, [["0.0.0.0", "80", "ALL", "Non-HTTP/Non-TCP"]]),
        (["l", "--port", "81"], DUMP, []),
        (["route", "--name", "80"], DUMP, [["80", "h", "*", "/*"]]),
        (["secret"], DUMP, [["default", "-", "ACTIVE", "false"]]),
    ],
)  # fmt: skip
def test_tables_out_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], document: Any, rows: list[list[str]]
) -> None:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(document))
    assert run(*command, "--file", str(file)) == ExitCode.GOOD
    assert words(capsys.readouterr().out) == rows


@pytest.mark.parametrize(
    ("command", "document", "names"),
    [
        (["cluster", "--port", "80"], DUMP, ["outbound|80||a.b"]),
        (["endpoint", "--cluster", "a.b"], STATUSES, ["outbound|80||a.b"]),
        (["listener"], DUMP, ["l"]),
        (["route", "--name", "80"], DUMP, ["80"]),
    ],
)
def test_json_is_envoys_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], document: Any, names: list[str]
) -> None:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(document))
    assert run(*command, "-o", "json", "--file", str(file)) == ExitCode.GOOD
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == names


def test_a_proxy_is_asked_for_what_the_command_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    async def ask(path: str, source: proxy_config._Source) -> tuple[bytes, str]:
        asked.append((path, source.proxy, source.namespace))
        return json.dumps(STATUSES if path.startswith("/clusters") else DUMP).encode(), ""

    monkeypatch.setattr(proxy_config, "_ask", ask)
    assert run("endpoint", "a.b") == ExitCode.GOOD
    assert run("cluster", "a", "-n", "b") == ExitCode.GOOD
    assert run("all", "a.b") == ExitCode.GOOD
    assert asked == [
        ("/clusters?format=json", "a.b", ""),
        ("/config_dump", "a", "b"),
        ("/config_dump?include_eds", "a.b", ""),
    ]
    assert "outbound|90||c.d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["cluster", "--file", "/nowhere"], ExitCode.USAGE, "cannot read /nowhere"),
        (["cluster", "-o", "json"], ExitCode.USAGE, "no proxy is named"),
    ],
)
def test_wrong_usage_says_why(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str) -> None:
    assert run(*arguments) == code
    assert text in capsys.readouterr().err
