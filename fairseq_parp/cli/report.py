"""``fairseq-parp report``: sparsity of a checkpoint, overall, per layer and per kind of module."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from fairseq_parp.report import Count, Report, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="any fairseq checkpoint of a wav2vec 2.0-like model")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Print the report."""
    found = report(arguments.checkpoint)
    print(json.dumps(found.to_json(), indent=2) if arguments.json else render(found))
    return 0


def render(found: Report) -> str:
    """Return the report as text."""
    asked = "not trained by fairseq_parp" if found.pruning is None else _asked(found.pruning)
    head = [
        f"checkpoint  {found.path}",
        f"updates     {'not stated' if found.updates is None else found.updates}",
        f"pruning     {asked}",
        f"prunable    {_line(found.prunable)}",
        f"all of it   {_line(found.model)}",
    ]
    return "\n".join([*head, "", *_table("layer", found.layers), "", *_table("kind", found.kinds)])


def _asked(pruning: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in pruning.items() if value is not None)


def _line(count: Count) -> str:
    return f"{count.zeros:,} zeros of {count.size:,} weights, sparsity {count.sparsity:.6f}"


def _table(title: str, rows: Mapping[str, Count]) -> list[str]:
    width = max(len(title), *(len(name) for name in rows))
    lines = [f"{title:{width}}  sparsity        zeros      weights"]
    return lines + [f"{name:{width}}  {c.sparsity:8.6f} {c.zeros:12,} {c.size:12,}" for name, c in rows.items()]
