"""One lab of `two-networks` for all scenarios over it: they put back what they change."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness import Lab


@pytest.fixture(scope="session")
def two_networks() -> Iterator[Lab]:
    """The running lab. Its directory is not pytest's: another run might clear that away under a living lab."""
    with tempfile.TemporaryDirectory(prefix="isthmus-lab-", ignore_cleanup_errors=True) as directory:
        world = Lab("two-networks", Path(directory, "state"))
        try:
            world.up()
            yield world
        finally:
            world.down()


@pytest.fixture
def lab(two_networks: Lab) -> Iterator[Lab]:
    """The lab, whole; what a test broke is mended, and seen to work, before the next."""
    two_networks.steady()
    yield two_networks
    two_networks.lab("restore")
