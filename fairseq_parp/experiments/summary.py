"""The results of an experiment as Markdown that reads well as plain text: a table and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fairseq_parp.errors import listing
from fairseq_parp.experiments.judging import NOTE, judged
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import Names, System, group, interval_of, reprunes, systems_of
from fairseq_parp.experiments.verdicts import (
    Decodings,
    Pair,
    across_training_sets,
    against_dense,
    against_rivals,
    in_words,
)


def summary(rows: Sequence[ResultRow], folder: Path) -> str:
    """Return table and verdicts.

    Args:
        rows: rows of the results file.
        folder: the folder of the results file.

    Raises:
        ComparisonError, ExperimentFileError, ResultsError: as :meth:`~fairseq_parp.experiments.verdicts.Decodings
            .compare`; or two runs have the same setting and seed.
    """
    systems = systems_of(rows)
    lines = ["# Results", "", *table(systems), "", "## Verdicts", "", NOTE, *_verdicts(systems, Decodings(folder))]
    return "\n".join(lines) + "\n"


def table(systems: Sequence[System]) -> list[str]:
    """Return the lines of a table with one row for each system; columns without information are left out."""
    shown = [(head, cell) for head, cell, matters in _columns(systems) if matters]
    cells = [[head for head, _ in shown]] + [[cell(system) for _, cell in shown] for system in systems]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *rest = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return [head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rest]


def _columns(systems: Sequence[System]) -> list[tuple[str, Callable[[System], str], bool]]:
    """Return all columns: head, cell, and whether it has information."""
    rows = [system.one for system in systems]
    intervals = {row.interval for row in rows if reprunes(row)}
    return [
        *(
            (name, _plain(name), len({getattr(row, name) for row in rows}) > 1)
            for name in ("data", "config", "protocol")
        ),
        ("split", _plain("split"), True),
        ("method", _plain("method"), True),
        ("variant", _plain("variant"), any(row.variant for row in rows)),
        ("trained", _trained, len(set(map(_trained, systems))) > 1),
        ("mask from", _plain("mask_from"), any(row.mask_from for row in rows)),
        ("interval", lambda system: interval_of(system.one), len(intervals) > 1),
        ("lr", lambda system: f"{system.one.lr:g}", len({row.lr for row in rows}) > 1),
        ("sparsity", lambda system: f"{system.one.sparsity:g}", True),
        ("measured", _span("measured", ".4f"), True),
        ("seeds", lambda system: str(len(system.rows)), any(len(system.rows) > 1 for system in systems)),
        ("UER, %", _span("uer", ".2f"), True),
        ("WER, %", _span("wer", ".2f"), any(row.wer is not None for row in rows)),
        ("IOU with MPI (chance)", _overlap, any(row.iou_mpi is not None for row in rows)),
        ("finetunings", _span("finetunings", ".0f"), True),
        ("updates", _span("updates", ".0f"), True),
        ("seconds", _span("seconds", ".0f"), any(row.seconds is not None for row in rows)),
    ]


def _plain(column: str) -> Callable[[System], str]:
    return lambda system: str(getattr(system.one, column) or "-")


def _span(column: str, form: str) -> Callable[[System], str]:
    """Return the function that shows a column's mean over the seeds, and the least and the most where they differ."""

    def cell(system: System) -> str:
        mean = system.mean(column)
        if mean is None:
            return "-"
        least, most = (format(edge(system.values(column)), form) for edge in (min, max))
        return format(mean, form) + (f" ({least} to {most})" if least != most else "")

    return cell


def _trained(system: System) -> str:
    """Return the parameters that were trained, and their share, where a variant trains fewer than all."""
    row = system.one
    if row.trained is None or not row.parameters:
        return "-"
    return f"{row.trained:,} ({100 * row.trained / row.parameters:.2f} %)"


def _overlap(system: System) -> str:
    iou, chance = system.mean("iou_mpi"), system.mean("chance")
    return "-" if iou is None else f"{iou:.3f}" + ("" if chance is None else f" ({chance:.3f})")


def _verdicts(systems: Sequence[System], decodings: Decodings) -> Iterator[str]:
    """Yield the lines of the verdicts, by kind of pair and by place."""
    names = Names(systems)
    here = [system for system in systems if decodings.has(system)]
    for title, pairs in (("Against dense", against_dense(here)), ("PARP against the others", against_rivals(here))):
        if pairs:
            yield from ("", f"### {title}")
        for place, members in group(pairs, _training).items():
            yield from ("", f"{place}:", "")
            yield from judged([(in_words(pair, names), decodings.compare(*pair)) for pair in members])
    if pairs := across_training_sets(here):
        yield from ("", "### One training set against another", "")
        yield from judged([(_across(pair, names), decodings.compare(*pair)) for pair in pairs])
    missing = sorted({row.run for system in systems if system not in here for row in system.rows})
    if missing:
        yield from ("", f"Not compared, because their decoded text is missing: {listing(missing)}.")


def _across(pair: Pair, names: Names) -> str:
    one, other = (system.one.data for system in pair)
    return f"trained on {one} against trained on {other}: {in_words(pair, names)}"


def _training(pair: Pair) -> str:
    """Return a description of the pair's training set."""
    data, config, protocol, _ = pair[0].place
    return f"{data}, recipe {config}, protocol {protocol}"
