"""Verdicts on a list of comparisons, in words: t tests over seeds, corrected for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_parp.experiments.comparison import Comparison, Difference
from fairseq_parp.experiments.significance import FEWEST_SEEDS, LEVEL, holm, smallest_difference

NOTE = f"""\
A difference is the first system's error rate minus the second's: below 0 the first is better. A verdict is a t test
over the error rates of the training seeds: paired where both systems were trained on the same data with the same
seeds, else Welch's. Holm's method corrects p for all comparisons of a list, UER and WER separately. A win or a loss is
a p below {LEVEL}. Fewer than {FEWEST_SEEDS} seeds, or seeds without any spread: no verdict. The 95 % interval is a
bootstrap over the test utterances; it shows how far the difference depends on them, and decides nothing."""


def judged(compared: Sequence[tuple[str, Comparison]]) -> list[str]:
    """Return one list of comparisons as Markdown: an item for each, then the smallest difference that they find.

    Args:
        compared: description and comparison of each pair.
    """
    units = [comparison.units for _, comparison in compared]
    words = [comparison.words for _, comparison in compared]
    found = zip(compared, _sentences("UER", units), _sentences("WER", words), strict=True)
    items = [
        f"- {names}, {_seeds(comparison)}: {'; '.join(filter(None, rates))}" for (names, comparison), *rates in found
    ]
    return [*items, "", _sensitivity({"UER": units, "WER": words})]


def verdict(found: Difference, corrected: float) -> str:
    """Return ``win`` or ``loss`` of the first system, or ``not significant``, by a corrected p."""
    if corrected >= LEVEL:
        return "not significant"
    return "win" if found.points < 0 else "loss"


def _sentences(rate: str, differences: Sequence[Difference | None]) -> list[str]:
    """Return each difference of one error rate in words; nothing for None."""
    tests = [each.test.p for each in differences if each and each.test]
    corrected = iter(holm(tests))
    sentences = []
    for each in differences:
        if each is None:
            sentences.append("")
            continue
        p = next(corrected) if each.test else None
        ended = "no verdict" if p is None else f"p {_probability(p)}: {verdict(each, p)}"
        sentences.append(f"{rate} {_points(each.points)} points{_interval(each)}, {ended}")
    return sentences


def _seeds(comparison: Comparison) -> str:
    """Return the numbers of seeds, and why they allow no test where they do not."""
    ours, theirs = map(len, comparison.seeds)
    if min(ours, theirs) < FEWEST_SEEDS:
        return f"{_number(ours) if ours == theirs else f'{ours} and {_number(theirs)}'} (fewer than {FEWEST_SEEDS})"
    if comparison.paired:
        return f"{ours} paired seeds"
    return f"{ours} and {theirs} seeds"


def _number(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _interval(found: Difference) -> str:
    if found.interval is None:
        return ""
    low, high = found.interval
    return f", 95 % interval [{_points(low)}, {_points(high)}]"


def _sensitivity(rates: dict[str, Sequence[Difference | None]]) -> str:
    found = {
        rate: smallest_difference([each.test for each in differences if each and each.test])
        for rate, differences in rates.items()
    }
    sentences = [f"{rate} {points:.2f} points" for rate, points in found.items() if points is not None]
    if not sentences:
        return "Smallest difference that these seeds find with 80 % power: none, as they allow no test."
    return f"Smallest difference that these seeds find with 80 % power: {', '.join(sentences)}."


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _points(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # the sum makes -0.0 a 0.0
