"""The small lab that several files share."""

from collections.abc import Iterator

import pytest

from tests.lab_pkg.tiny import Driver


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A running lab, ended after all tests whatever they did."""
    driver = Driver(tmp_path_factory.mktemp("tiny"))
    driver.run("up", str(driver.example))
    try:
        yield driver
    finally:
        driver.run("down", "--purge")
