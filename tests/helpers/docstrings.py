"""Sentences of the standard library's documentation, by the package that they are from: real text at hand."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

LIBRARY = Path(sysconfig.get_paths()["stdlib"])

LABELS = {"tkinter": "tk", "email": "mail", "asyncio": "async"}
"""Packages, and what no sentence of theirs may contain: the package's name would give the label away."""


def documentation(file: Path) -> Iterator[str]:
    """Yield the docstrings of a module, each in one line."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # what Python's own tests need
        return
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module))
        if documented and (text := ast.get_docstring(node)):
            yield " ".join(text.split())


def labelled(sizes: dict[str, int]) -> dict[str, list[list[str]]]:
    """Return rows of a sentence and its package by split, with ``sizes[split]`` sentences of each package."""
    chance, splits = random.Random(1), {split: list[list[str]]() for split in sizes}
    for package, word in LABELS.items():
        texts = (text for file in sorted((LIBRARY / package).rglob("*.py")) if "test" not in file.parts
                 for text in documentation(file))  # fmt: skip
        sentences = {part.strip() for text in texts for part in re.split(r"(?<=[.!?]) ", text)}
        usable = sorted(each for each in sentences if 20 < len(each) < 200 and word not in each.lower())
        chance.shuffle(usable)
        for split, size in sizes.items():
            splits[split] += [[usable.pop(), package] for _ in range(size)]
    for rows in splits.values():
        chance.shuffle(rows)
    return splits


def unlabelled(most: int) -> list[list[str]]:
    """Return rows of text from the language reference and from modules of no labelled package."""
    files = [*sorted(LIBRARY.glob("*.py")), *sorted(LIBRARY.glob("[a-z]*/*.py"))]
    texts = [" ".join(part.split()) for topic in topics.values() for part in topic.split("\n\n")]
    texts += [
        text for file in files if file.parent.name not in {*LABELS, "site-packages"} for text in documentation(file)
    ]
    rows = [[text] for text in dict.fromkeys(texts) if 30 < len(text) < 400]
    random.Random(1).shuffle(rows)
    return rows[:most]
