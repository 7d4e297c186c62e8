"""The control plane's container is given variables that `isthmus serve` knows."""

from typer.main import get_command

from isthmus.cli.serve import app
from isthmus.install.istiod import istiod
from isthmus.install.values import ControlPlaneValues, MeshValues

NOT_SETTINGS = {"SERVICE_ACCOUNT"}
"""What is there for people who look into the pod."""


def test_every_variable_is_read() -> None:
    known = {name for option in get_command(app).params for name in _words(option.envvar)}
    (deployment,) = [
        item for item in istiod(ControlPlaneValues(mesh=MeshValues(cluster="c"))) if item["kind"] == "Deployment"
    ]
    given = {item["name"] for item in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert given - NOT_SETTINGS <= known


def _words(envvar: object) -> list[str]:
    if isinstance(envvar, str):
        return [envvar]
    return [str(name) for name in envvar] if isinstance(envvar, list | tuple) else []
