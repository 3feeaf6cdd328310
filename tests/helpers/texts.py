"""Tables of made-up texts, the folders that fairseq trains on, and a tiny text encoder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_parp.text.table import read_table
from fairseq_parp.text.writing import write_folder

WORDS = {
    "animals": ["cat", "dog", "horse", "sheep", "owl", "trout", "beaver", "lynx"],
    "tools": ["hammer", "saw", "drill", "chisel", "wrench", "pliers", "file", "clamp"],
}
FILLERS = ["the", "a", "one", "old", "big", "near", "under", "with", "and", "then", "was", "seen", "here", "today"]

MODEL = {
    "_name": "roberta",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "dropout": 0.1,
}
"""A RoBERTa of 2 x (4 x 16 x 16 + 2 x 16 x 32 weights, with biases)."""


def made_up(size: int, seed: int, pairs: bool = False) -> list[list[str]]:
    """Return rows of one or two texts, of which the first has words of its class, and a label."""
    chance = random.Random(seed)

    def text(label: str) -> str:
        return " ".join(chance.choice(WORDS[label] if chance.random() < 0.4 else FILLERS) for _ in range(8))

    labels = [chance.choice(list(WORDS)) for _ in range(size)]
    return [[text(label), *([text("tools")] if pairs else []), label] for label in labels]


def write_table(file: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = ("text", "label")) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(row) + "\n" for row in [columns, *rows]), encoding="utf-8")
    return file


def make_data(folder: Path, sizes: dict[str, int], pairs: bool = False, tokenizer: Path | None = None) -> Path:
    """Write tables of made-up texts and the binarised folder ``data``; return the folder."""
    columns = ("text", "text2", "label") if pairs else ("text", "label")
    tables = {
        split: read_table(write_table(folder / f"{split}.tsv", made_up(size, seed, pairs), columns))
        for seed, (split, size) in enumerate(sizes.items())
    }
    write_folder(tables, folder / "data", tokenizer, 300)
    return folder / "data"


def task(data: Path, **keys: Any) -> dict[str, Any]:
    """The config of the task; an example has at most 64 tokens."""
    marks = {"init_token": 0, "separator_token": 2, "max_positions": 64}
    return {"_name": "parp_sentence_prediction", "data": str(data), **marks, **keys}
