"""``fairseq-parp score``: UER and WER of a fairseq-generate result file."""

from __future__ import annotations

import argparse
import json
import sys

from fairseq_parp.scoring import ErrorRate, Score, score_file

TYPES = ("substitutions", "insertions", "deletions")
"""Types of errors, in the order of the output."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("results", metavar="FILE", help="generate-SUBSET.txt of fairseq-generate")
    parser.add_argument(
        "--units",
        choices=("letters", "graphemes", "symbols"),
        help="kind of units: letters of words (--post-process letter), letters with their combining marks, or symbols "
        "between spaces; "
        "default: the kind that fits the number of positional scores in FILE",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; rates in percent")


def run(arguments: argparse.Namespace) -> int:
    """Print the error rates."""
    score = score_file(arguments.results, arguments.units)
    print(json.dumps(_as_json(score)) if arguments.json else _as_text(score))
    folded = score_file(arguments.results, arguments.units, fold_case=True)
    if folded.units.errors < score.units.errors:
        counts = f"{score.units.errors - folded.units.errors} of {score.units.errors} unit errors are of case alone"
        print(f"note: case counts: {counts}; without case the UER is {folded.units.percent:.2f} %", file=sys.stderr)
    if score.empty == score.utterances:
        hint = "" if arguments.units else "; the references decided whether units are letters or symbols (--units)"
        print(
            f"note: every hypothesis is empty: the model emits only blanks, as after a short training{hint}",
            file=sys.stderr,
        )
    return 0


def _as_json(score: Score) -> dict[str, float | int | None]:
    """Return a flat object."""
    return {
        "utterances": score.utterances,
        "empty": score.empty,
        **_counts("unit", score.units),
        **_counts("word", score.words),
    }


def _counts(thing: str, rate: ErrorRate | None) -> dict[str, float | int | None]:
    """Return ``uer``, ``unit_errors``, ``unit_total`` and each type of error, or the same of words."""
    found: dict[str, float | int | None] = {
        f"{thing[0]}er": None if rate is None else rate.percent,
        f"{thing}_errors": None if rate is None else rate.errors,
        f"{thing}_total": None if rate is None else rate.total,
    }
    for name in TYPES:
        found[f"{thing}_{name}"] = None if rate is None else getattr(rate, name)
        found[f"{thing}_{name}_percent"] = None if rate is None else rate.percent_of(getattr(rate, name))
    return found


def _as_text(score: Score) -> str:
    """Return a line for the utterances and one for each rate."""
    words = "-  (no word boundary | among the symbols)" if score.words is None else _rate(score.words, "words")
    return f"utterances  {score.utterances}\nUER  {_rate(score.units, 'units')}\nWER  {words}"


def _rate(rate: ErrorRate, things: str) -> str:
    """Return a rate with its counts."""
    types = [f"{name} {getattr(rate, name)} ({rate.percent_of(getattr(rate, name)):.2f} %)" for name in TYPES]
    return f"{rate.percent:.2f} %  ({rate.errors} errors / {rate.total} {things})  {', '.join(types)}"
