"""``fairseq-parp report``: sparsity of a checkpoint, overall, per layer and per kind of module."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_parp.mask_files.report import SparsityReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="any fairseq checkpoint of a wav2vec 2.0-like model")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Print the report."""
    from fairseq_parp.mask_files.report import report  # here, so that --help needs no torch

    found = report(arguments.checkpoint)
    print(json.dumps(found.to_json(), indent=2) if arguments.json else render(found))
    return 0


def render(found: SparsityReport) -> str:
    """Return the report as text."""
    from fairseq_parp.cli.tables import line, table

    asked = "not trained by fairseq_parp" if found.pruning is None else _asked(found.pruning)
    head = [
        f"checkpoint  {found.path}",
        f"updates     {'not stated' if found.updates is None else found.updates}",
        f"pruning     {asked}",
        *_reached(found.run),
        *_trained(found.adapters),
        f"prunable    {line(found.prunable)}",
        f"all of it   {line(found.model)}",
    ]
    return "\n".join([*head, "", *table("layer", found.zeros.layers), "", *table("kind", found.zeros.kinds)])


def _reached(run: Mapping[str, Any]) -> list[str]:
    if not isinstance(run.get("reached"), float) or not isinstance(run.get("asked"), float):
        return []
    ended = f"; ended by {run['ended']}" if run.get("ended") else ""
    return [f"sparsity    {run['reached']:.4g} reached of {run['asked']:.4g} asked{ended}"]


def _trained(adapters: Mapping[str, Any]) -> list[str]:
    """Return the kind of ``task.adapters``, and the trained parameters by kind."""
    from fairseq_parp.adapters import Trained

    if not adapters:
        return []
    return [f"trained     {adapters['config']['kind']}: {Trained(adapters['trained'], adapters['size'])}"]


def _asked(pruning: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in pruning.items() if value is not None)
