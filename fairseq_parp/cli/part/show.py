"""``fairseq-parp part show``: the content of a part."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_parp.errors import absolute

if TYPE_CHECKING:
    from fairseq_parp.parts.part import Part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("part", metavar="FILE", type=Path, help="part file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(arguments: argparse.Namespace) -> int:
    """Print the part's content and its sizes."""
    from fairseq_parp.parts.part import Part

    part = Part.load(arguments.part)
    size = arguments.part.stat().st_size
    if arguments.json:
        shown = facts(part) | {"path": absolute(arguments.part), "bytes": size}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print(f"{render(part)}\nfile       {size:,} bytes: {absolute(arguments.part)}")
    return 0


def facts(part: Part) -> dict[str, Any]:
    """Return the facts in the part, and the bytes of each kind of tensor."""
    from fairseq_parp.parts.sizes import bytes_by_kind

    keys = ("base", "language", "method", "labels", "normalize", "sample_rate", "pruning", "adapters")
    return {key: part.content[key] for key in keys} | {
        "symbols": [symbol for symbol, _ in part.content["symbols"]],
        "sparsity": part.mask.sparsity,
        "bytes_by_kind": bytes_by_kind(part),
    }


def render(part: Part) -> str:
    """Return the part as text."""
    from fairseq_parp.errors import listing

    found = facts(part)
    sizes = ", ".join(f"{kind} {size:,}" for kind, size in found["bytes_by_kind"].items() if size)
    trained = [f"task.pruning.method={found['pruning']['method']}"] if found["pruning"].get("method") else []
    if found["adapters"]:
        trained.append(f"task.adapters.kind={found['adapters']['config']['kind']}")
    labels = [symbol for symbol in found["symbols"] if symbol not in ("<s>", "<pad>", "</s>", "<unk>")]
    lines = [
        f"language   {found['language']}",
        f"base       SHA-256 {found['base']}",
        f"method     {found['method']}",
        f"trained    {', '.join(trained) or 'not by fairseq_parp'}",
        f"labels     {found['labels'] or 'none'}, {len(found['symbols'])} symbols: {listing(labels, 40)}",
        f"audio      normalize {str(found['normalize']).lower()}, {found['sample_rate']} Hz",
        f"bytes      {sizes}",
    ]
    if part.mask.bits:
        lines.append(
            f"mask       {part.mask.zeros():,} of {part.mask.size():,} weights are zero ({part.mask.sparsity:.4f})"
        )
    return "\n".join(lines)
