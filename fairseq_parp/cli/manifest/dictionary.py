"""The option ``--dictionary``: a data folder that keeps the dictionary of another one, or of a finetuned model."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.errors import CheckpointError, ManifestError, absolute
from fairseq_parp.files import is_torch_saved
from fairseq_parp.manifests.reading import SPECIALS, read_vocabulary


def add_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--dictionary",
        metavar="FILE",
        type=Path,
        help="keep this dictionary: a dict.KIND.txt, or a finetuned checkpoint that holds one (default: a new one)",
    )


def read_option(file: Path | None) -> dict[str, int] | None:
    """Return the symbols of ``--dictionary`` with their counts, in their order; None if it is not given.

    Raises:
        ManifestError: the file is no dictionary, or one that places fairseq's own symbols.
        CheckpointError: a checkpoint that cannot be read safely, or holds no dictionary.
    """
    if file is None:
        return None
    if file.is_file() and is_torch_saved(file):
        return _of_checkpoint(file)
    vocabulary = read_vocabulary(file)
    problems = list(vocabulary.problems)
    if len(problems) > 1 + len(vocabulary.symbols):
        raise ManifestError([f"{problems[0]}; {absolute(file)} is not a dictionary: most of its lines are wrong"])
    if own := sorted(set(SPECIALS) & set(vocabulary.symbols)):
        problems.append(f"{file}: places {own[0]!r}, which is fairseq's own; such a dictionary cannot be kept")
    if problems:
        raise ManifestError(problems)
    return dict(zip(vocabulary.symbols, vocabulary.counts, strict=True))


def _of_checkpoint(file: Path) -> dict[str, int]:
    from fairseq_parp import checkpoints

    task = checkpoints.read(file, with_fairseq=False).get("task_state") or {}
    held = vars(task.get("target_dictionary") or argparse.Namespace())
    symbols, counts = held.get("symbols", []), held.get("count", [])
    usable = [symbol for symbol in symbols if isinstance(symbol, str) and symbol.split() == [symbol]]
    front = len(SPECIALS) * (tuple(symbols[: len(SPECIALS)]) == SPECIALS)  # a classifier's dictionary has none
    own = symbols[front:]
    if not own or set(own) & set(SPECIALS) or usable != symbols or len(counts) != len(symbols):
        raise CheckpointError(absolute(file), "holds no dictionary of labels; name a dict.KIND.txt")
    return dict(zip(own, map(int, counts[front:]), strict=True))
