"""Documents: what they point to exists, every example is told of, and every example tells of itself."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/lab.yaml"))
PAGES = sorted(page for page in ROOT.glob("docs/*.md") if page.name != "matrix.md")
"""Without what `make test-all` writes: a checkout may have it or not."""
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


def anchors(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{target} does not exist"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}{anchor} is no heading there"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_has_its_page_and_its_scenario(example: Path) -> None:
    assert (example / "README.md").exists()
    assert f"`{example.name}`" in (ROOT / "docs" / "deployment-models.md").read_text()
    scenarios = "".join(path.read_text() for path in ROOT.glob("tests/lab/*.py"))
    assert f'"{example.name}"' in scenarios


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_page_is_found_from_the_readme(page: Path) -> None:
    assert f"docs/{page.name}" in (ROOT / "README.md").read_text()
