"""Labs for scenarios: one runs at a time, and tests put back what they change."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.harness import Lab


class Stage:
    """Holds the lab that runs; another example takes its place."""

    def __init__(self) -> None:
        self._lab: Lab | None = None
        self._stack = ExitStack()

    def lab(self, example: str) -> Lab:
        """The running lab of an example."""
        if self._lab is None or self._lab.name != example:
            self.clear()
            # The directory is not pytest's: another run might clear that away under a living lab.
            directory = tempfile.TemporaryDirectory(prefix="isthmus-lab-", ignore_cleanup_errors=True)
            lab = Lab(example, Path(self._stack.enter_context(directory), "state"))
            self._stack.callback(lab.down)
            lab.up()
            self._lab = lab
        return self._lab

    def clear(self) -> None:
        """End what runs."""
        self._stack.close()
        self._lab = None


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The one place where labs run."""
    stage = Stage()
    try:
        yield stage
    finally:
        stage.clear()


@pytest.fixture(scope="module")
def model(stage: Stage, request: pytest.FixtureRequest) -> Lab:
    """The lab of the example that the test module names: `EXAMPLE = "flat-network"`."""
    return stage.lab(request.module.EXAMPLE)


@pytest.fixture
def lab(stage: Stage) -> Iterator[Lab]:
    """The lab `two-networks`, whole; what a test broke is mended, and seen to work, before the next."""
    two_networks = stage.lab("two-networks")
    two_networks.steady()
    yield two_networks
    two_networks.lab("restore")
