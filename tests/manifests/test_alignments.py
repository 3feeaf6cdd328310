"""Words with times from an item file and from a CTM file, and what is wrong with such files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairseq_parp.errors import ItemError
from fairseq_parp.manifests.alignments import Spoken, read_alignment


def test_both_layouts_give_the_same_words(tmp_path: Path) -> None:
    items, ctm = tmp_path / "words.item", tmp_path / "words.ctm"
    items.write_text(
        "#file onset offset #phone prev-phone next-phone speaker\n"
        "a 0.25 0.5 dog SIL runs s1\na 0.5 1.0 runs dog SIL s1\nb 0.0 0.5 cat SIL SIL s2\n"
    )
    ctm.write_text(";; a comment\na 1 0.25 0.25 dog 0.9\na 1 0.5 0.5 runs\n\nb A 0 0.5 cat\n")
    expected = {"a": [Spoken(0.25, 0.5, "dog"), Spoken(0.5, 1.0, "runs")], "b": [Spoken(0, 0.5, "cat")]}
    assert read_alignment(items) == read_alignment(ctm) == expected


BAD = {
    "no file": (None, "no such file"),
    "empty": ("", "the file is empty"),
    "comments alone": (";; none\n", "has no word"),
    "too few cells": ("a 1 0.2 0.1 dog\nb 1 0.2 0.1\n", "line 2: 4 cells; a CTM line has FILE CHANNEL"),
    "no number": ("a 1 soon 0.1 dog\n", "line 1: start soon, duration 0.1"),
    "no duration": ("a 1 0.2 0 dog\n", "line 1: start 0.2, duration 0: they must be seconds"),
    "an infinite start": ("a 1 inf 1 dog\n", "line 1: start inf"),
    "an item that ends before it starts": (
        "#file onset offset #phone prev-phone next-phone speaker\na 0.5 0.2 dog SIL SIL s\n", "line 2: onset 0.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_file_and_line(case: str, tmp_path: Path) -> None:
    text, named = BAD[case]
    if text is not None:
        (tmp_path / "words").write_text(text)
    with pytest.raises(ItemError) as raised:
        read_alignment(tmp_path / "words")
    assert named in str(raised.value)
    assert "words" in str(raised.value)
