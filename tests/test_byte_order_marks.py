"""Editors on Windows begin UTF-8 files with a byte-order mark: it is no part of the first word."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_parp.decoding.lexicon import Speller, read_lexicon
from fairseq_parp.grounded.importing import read_ids
from fairseq_parp.manifests.clips import read_sentences
from fairseq_parp.manifests.items import HEAD, read_items
from fairseq_parp.retrieval.labels import read_objects


class Labels:
    symbols = ("<s>", "<pad>", "</s>", "<unk>", "A", "N", "|")
    nspecial = 4


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "lexicon": ("AN\tA N |\nA\n", lambda path: read_lexicon(path, Speller(Labels()))),
    "items": (f"{HEAD}\na 0 1 b c d e\n", read_items),
    "objects": ("image\tobject\tleft\ttop\tright\tbottom\n1\tcat\t0\t0\t1\t1\n", lambda path: str(read_objects(path))),
    "ids": ("first\nsecond\n", lambda path: read_ids([path])),
    "sentences": ('{"sentences": [{"video_id": "v", "caption": "a cat"}]}', lambda path: read_sentences(path, [])),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_reads_the_same_with_a_mark_and_without(kind: str, tmp_path: Path) -> None:
    content, read = READERS[kind]
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_bytes(content.encode())
    marked.write_bytes(codecs.BOM_UTF8 + content.encode())
    assert read(marked) == read(plain)
    assert read(plain)
