"""`isthmus ca`: files that a control plane takes, bound to their trust domains, and never overwritten."""

import stat
from pathlib import Path

import pytest

from isthmus.base.errors import ExitCode
from isthmus.trust.authority import Authority, from_secret
from isthmus.trust.constraints import permits, signers
from tests.cli.test_main import run


def made(tmp_path: Path, *domains: str) -> Authority:
    """A root and an intermediate for these trust domains, as a control plane reads it."""
    assert run("ca", "root", "--out", str(tmp_path / "ca"), "--organization", "Acme") == ExitCode.GOOD
    options = [word for domain in domains for word in ("--trust-domain", domain)]
    out = tmp_path / "west"
    code = run("ca", "intermediate", "--root", str(tmp_path / "ca"), "--cluster", "west", "--out", str(out), *options)
    assert code == ExitCode.GOOD
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    return from_secret(files, now=2_000_000_000.0 - 200_000_000)


def test_an_intermediate_is_bound_to_its_trust_domains(tmp_path: Path) -> None:
    authority = made(tmp_path, "west.example", "shared.example")
    allowed = {name: permits(signers(authority), name) for name in ("west.example", "shared.example", "east.example")}
    assert allowed == {"west.example": True, "shared.example": True, "east.example": False}
    assert "Acme" in authority.certificate.issuer.rfc4514_string()


def test_keys_are_for_their_owner_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "west.example")
    for name in ("ca/root-key.pem", "west/ca-key.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    before = (tmp_path / "ca/root-key.pem").read_bytes()
    capsys.readouterr()
    assert run("ca", "root", "--out", str(tmp_path / "ca")) == ExitCode.USAGE
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "ca/root-key.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trust-domain", "*.example"), "is no trust domain"),
        (("--trust-domain", "a/b"), "is no trust domain"),
        (("--trust-domain", "a.example"), "isthmus ca root --out"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    root, out = str(tmp_path / "none"), str(tmp_path / "out")
    assert run("ca", "intermediate", "--root", root, "--cluster", "a", "--out", out, *arguments) == ExitCode.USAGE
    assert message in capsys.readouterr().err
