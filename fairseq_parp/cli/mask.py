"""``fairseq-parp mask``: masks as objects. Make one, look at it, compare several, apply one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fairseq_parp.cli.actions import Action, add_actions
from fairseq_parp.cli.tables import line, table
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.mask_files.applying import apply_mask
from fairseq_parp.mask_files.comparing import Comparison, compare
from fairseq_parp.mask_files.heatmap import draw
from fairseq_parp.mask_files.making import CRITERIA, make_mask
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.report import zeros_of
from fairseq_parp.sparsity.overlap import Overlap
from fairseq_parp.sparsity.scope import GRANULARITIES

ANY_MASK = "mask file, sparse checkpoint, or what torch.nn.utils.prune left"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return ACTIONS[arguments.action].run(arguments)


def _add_make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="fairseq checkpoint, pretrained or finetuned")
    parser.add_argument("--sparsity", metavar="S", type=float, required=True, help="fraction of zeros, in [0, 1)")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, required=True, help="mask file to write")
    parser.add_argument("--by", choices=CRITERIA, default="magnitude", help="what decides (default: magnitude)")
    parser.add_argument("--granularity", choices=list(GRANULARITIES), default="global", help="what shares a threshold")
    parser.add_argument("--scope", metavar="NAME", nargs="+", help="names or expressions (default: the paper's)")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of random and random-init (default: 1)")


def _make(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.sparsity < 1:
        raise ConfigError("--sparsity", arguments.sparsity, "must be a number in [0, 1)")
    mask = make_mask(
        arguments.checkpoint,
        arguments.sparsity,
        arguments.by,
        scope=arguments.scope or "paper",
        granularity=arguments.granularity,
        seed=arguments.seed,
    )
    mask.save(arguments.out, by=arguments.by, source=absolute(arguments.checkpoint))
    print(f"{line(zeros_of(mask).overall)}\nwritten to {absolute(arguments.out)}")
    return 0


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mask", metavar="MASK", type=Path, help=ANY_MASK)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def _show(arguments: argparse.Namespace) -> int:
    zeros = zeros_of(read_mask(arguments.mask))
    if arguments.json:
        print(json.dumps({"path": absolute(arguments.mask), **zeros.to_json()}, indent=2))
    else:
        print("\n".join([line(zeros.overall), "", *table("layer", zeros.layers), "", *table("kind", zeros.kinds)]))
    return 0


def _add_overlap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("masks", metavar="MASK", type=Path, nargs="+", help=f"two or more: {ANY_MASK}")
    parser.add_argument("--baseline", metavar="MASK", type=Path, help="mask to hold each against, such as MPI")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="draw a heat map, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def _overlap(arguments: argparse.Namespace) -> int:
    if not 2 <= len(arguments.masks) <= 52:
        raise ConfigError("MASK", len(arguments.masks), "from 2 to 52 masks can be compared")
    masks = {name: read_mask(path) for name, path in zip(_names(arguments.masks), arguments.masks, strict=True)}
    baseline = None if arguments.baseline is None else read_mask(arguments.baseline)
    comparison = compare(masks, baseline)
    print(json.dumps(comparison.to_json(), indent=2) if arguments.json else render(comparison))
    if arguments.plot:
        draw(comparison, arguments.plot)
        if not arguments.json:
            print(f"\nheat map: {absolute(arguments.plot)}")
    return 0


def _names(paths: Sequence[Path]) -> list[str]:
    """Return short names for masks: the files' own where those differ, else with as much of the path as it takes."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {path}" for number, path in enumerate(paths, start=1)]


def render(comparison: Comparison) -> str:
    """Return overlaps as text: the matrix over all weights, then each layer and each kind of module."""
    letter = comparison.letters
    legend = {letter[name]: {"sparsity": f"{s:.6f}", "": name} for name, s in comparison.sparsities.items()}
    overall = {letter[one]: {letter[other]: _all_weights(comparison, one, other) for other in letter} for one in letter}
    for name, parts in comparison.baselines.items():
        overall[letter[name]]["baseline"] = _both(parts["overall"][""])
    lines = ["IOU of kept weights; in brackets, what independent masks of the same densities would have"]
    for title, rows in (("mask", legend), ("all weights", overall)):
        lines += ["", *_grid(title, rows)]
    columns = comparison.columns
    for title in ("layer", "kind"):
        parts_of = next(iter(columns.values()))[title]
        rows = {row: {name: _both(parts[title][row]) for name, parts in columns.items()} for row in parts_of}
        lines += ["", *_grid(title, rows)]
    return "\n".join(line.rstrip() for line in lines)


def _all_weights(comparison: Comparison, one: str, other: str) -> str:
    return "1" if one == other else _both(comparison.iou(one, other))


def _grid(title: str, rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines of a table of cells, every column as wide as it has to be."""
    first = max(map(len, [title, *rows]))
    heads = list(next(iter(rows.values())))
    widths = {head: max(len(head), *(len(cells[head]) for cells in rows.values())) for head in heads}
    lines = [f"{title:{first}}  " + "  ".join(f"{head:>{widths[head]}}" for head in heads)]
    return lines + [
        f"{row:{first}}  " + "  ".join(f"{cells[head]:{'>' if head else '<'}{widths[head]}}" for head in heads)
        for row, cells in rows.items()
    ]


def _both(found: Overlap) -> str:
    return f"{found.iou:.4f} ({found.chance:.4f})"


def _add_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="fairseq checkpoint, pretrained or finetuned")
    parser.add_argument("mask", metavar="MASK", type=Path, help=ANY_MASK)
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="checkpoint to write")


def _apply(arguments: argparse.Namespace) -> int:
    zeros = apply_mask(arguments.checkpoint, read_mask(arguments.mask), arguments.out)
    print(f"{zeros:,} weights are zero by the mask\nwritten to {absolute(arguments.out)}")
    return 0


ACTIONS = {
    "make": Action("make a mask for the model in a checkpoint", _add_make, _make),
    "show": Action("sparsity of a mask: overall, per layer, per kind of module", _add_show, _show),
    "overlap": Action("IOU of masks beside chance: overall, per layer, per kind", _add_overlap, _overlap),
    "apply": Action("write a checkpoint with a mask's zeros", _add_apply, _apply),
}
