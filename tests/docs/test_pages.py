"""Pages read well: short cells, links that lead somewhere, abbreviations that are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "manifests" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

MAX_WORDS = 25
CELLS_APART = re.compile(r"(?<!\\)\|")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_table_cell_has_more_than_25_words(page: Path) -> None:
    rows = [line.strip().strip("|") for line in page.read_text().splitlines() if line.lstrip().startswith("|")]
    long = [cell.strip() for row in rows for cell in CELLS_APART.split(row) if len(cell.split()) > MAX_WORDS]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_and_headings_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if heading:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("term", ["UER", "WER", "MPI", "RP", "OMP", "IMP", "PARP"])
def test_the_readme_explains_an_abbreviation_where_it_is_used_first_and_the_glossary_has_it(term: str) -> None:
    text = (ROOT / "README.md").read_text()
    around = text[max(0, (at := re.search(rf"\b{term}\b", text).start()) - 30) : at + 60]  # type: ignore[union-attr]
    assert "(" in around, around
    assert f"\n| {term} |" in (ROOT / "docs" / "glossary.md").read_text()


def test_the_readmes_bibtex_is_what_the_citation_file_has() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = cited["preferred-citation"]
    entries = dict(re.findall(r"^@(\w+)\{\w+,\n(.*?)\n\}", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL))
    fields = {
        kind: {
            key: " ".join(re.sub(r"[{}]", "", value).split())
            for key, value in re.findall(r"^  (\w+) += \{(.*?)\},?$", entry, re.MULTILINE | re.DOTALL)
        }
        for kind, entry in entries.items()
    }
    authors = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    expected = {"title": paper["title"], "author": authors, "journal": paper["journal"], "year": str(paper["year"])}
    assert fields["article"] == expected
    software = {"title": cited["title"], "author": cited["authors"][0]["name"], "version": cited["version"]}
    assert fields["software"] == software
