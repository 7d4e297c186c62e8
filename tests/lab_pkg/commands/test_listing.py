"""Which examples and labs there are."""

import json
from pathlib import Path

import pytest
import yaml

from isthmus.base.errors import UsageError
from isthmus_lab.commands import listing, show

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_every_example_has_a_title_and_is_good() -> None:
    found = listing.examples(EXAMPLES)
    assert "two-networks" in {item["name"] for item in found}
    for item in found:
        assert item["problems"] == []
        assert item["title"]
        assert item["clusters"]


def test_one_that_is_wrong_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "lab.yaml").write_text(yaml.safe_dump({"networks": []}))
    (found,) = listing.examples(tmp_path)
    assert found["name"] == "odd"
    assert len(found["problems"]) == 2
    tables = show.listing_tables({"examples": [found], "labs": []})
    assert [part.row_count for part in tables] == [1, 0]


def test_none() -> None:
    with pytest.raises(UsageError, match=r"has a lab\.yaml"):
        listing.examples(Path("/proc"))


def test_labs_that_have_state(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lab.json").write_text(json.dumps({"name": "mine", "file": "/x/lab.yaml", "clusters": []}))
    assert listing.labs(tmp_path) == [{"name": "mine", "state": str(tmp_path / "mine"), "running": False}]
