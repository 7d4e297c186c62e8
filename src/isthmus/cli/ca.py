"""`isthmus ca`: a root for the mesh, and an intermediate for each cluster that is bound to its trust domain."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from isthmus.base.errors import UsageError
from isthmus.ingest.finding import is_host
from isthmus.trust.authority import PLUG_IN_SECRET, secret_data
from isthmus.trust.issue import DAY, INTERMEDIATE_LIFETIME, ROOT_LIFETIME, PemPair, make_intermediate, make_root
from isthmus.trust.issue import serial_from as serial
from isthmus.trust.pem import load_certificates, new_key

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Certificate authorities as files: a common root, and an intermediate for each cluster.",
)

ROOT_CERTIFICATE, ROOT_KEY = "root-cert.pem", "root-key.pem"


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """All files or none: an authority that exists is never replaced. Keys are for their owner only."""
    there = [name for name in files if (directory / name).exists()]
    if there:
        raise UsageError(f"{directory / there[0]} exists already", "Choose another directory, or remove what is there")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            mode = 0o600 if "key" in name else 0o644
            with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}", "Choose another directory") from error


@app.command(
    epilog="Example:  isthmus ca root --out ca",
    short_help="Make the common root of a mesh.",
)
def root(
    out: Annotated[Path, typer.Option(help="Directory for root-cert.pem and root-key.pem.")],
    organization: Annotated[str, typer.Option(help="Organization in the subject.")] = "Isthmus",
    days: Annotated[int, typer.Option(min=1, help="How long it is valid.")] = ROOT_LIFETIME // DAY,
) -> None:
    """Make the common root of a mesh. Keep its key away from the clusters: only intermediates go there."""
    pair = make_root(
        new_key(), now=time.time(), serial=serial(os.urandom(19)), organization=organization, lifetime=days * DAY
    )
    _write(out, {ROOT_CERTIFICATE: pair.certificate, ROOT_KEY: pair.key})
    print(f"{out / ROOT_CERTIFICATE}  the root, for everybody")
    print(f"{out / ROOT_KEY}  its key: keep it offline")


@app.command(
    epilog="Example:  isthmus ca intermediate --root ca --cluster west --trust-domain west.example --out ca/west",
    short_help="Make the authority of one cluster's control plane.",
)
def intermediate(
    cluster: Annotated[str, typer.Option(help="Cluster whose control plane signs with it; part of the subject.")],
    trust_domain: Annotated[
        list[str],
        typer.Option(help="Trust domain it may sign for; repeat it for a control plane that serves several."),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the four files of the secret cacerts.")],
    root: Annotated[Path, typer.Option(help="Directory of the root.")] = Path("ca"),
    days: Annotated[int, typer.Option(min=1, help="How long it is valid.")] = INTERMEDIATE_LIFETIME // DAY,
) -> None:
    """Make the authority of one cluster's control plane.

    A critical name constraint binds it to its trust domains: identities of others that it signs are refused by every
    proxy.
    """
    wrong = [domain for domain in trust_domain if not is_host(domain) or "*" in domain]
    if wrong:
        raise UsageError(f"{wrong[0]!r} is no trust domain", "Give a DNS name such as west.example")
    above = _root(root)
    pair = make_intermediate(
        above,
        new_key(),
        now=time.time(),
        serial=serial(os.urandom(19)),
        cluster=cluster,
        lifetime=days * DAY,
        trust_domains=trust_domain,
    )
    _write(out, secret_data(pair, pair.certificate + above.certificate, above.certificate))
    end = load_certificates(pair.certificate)[0].not_valid_after_utc
    print(f"{out}  signs for {', '.join(trust_domain)} until {end:%Y-%m-%d}. Give it to the cluster before istiod:")
    print(f"  kubectl --context {cluster} create secret generic {PLUG_IN_SECRET} -n istio-system --from-file={out}")


def _root(directory: Path) -> PemPair:
    try:
        return PemPair((directory / ROOT_CERTIFICATE).read_bytes(), (directory / ROOT_KEY).read_bytes())
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be read: {error.strerror}", f"Make it with isthmus ca root --out {directory}"
        ) from error
