"""The demo's picture: validation error during training, and the fraction of zeros by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first
from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can distinguish; markers and hatches differ too.
_STYLES = (("#0072B2", "o", ""), ("#D55E00", "s", "//"), ("#009E73", "^", ".."))


@dataclass(frozen=True)
class Curve:
    """One run in the picture: validation UER in percent by update, sparsity by layer."""

    updates: Sequence[int]
    uer: Sequence[float]
    layers: Mapping[str, float]


def draw(runs: Mapping[str, Curve], sparsity: float, path: Path) -> None:
    """Draw ``runs`` by name into the PNG file ``path``; ``sparsity`` is the requested one."""
    figure, (learning, layers) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    figure.suptitle("fairseq_parp demo: small wav2vec 2.0, synthetic speech, one seed")
    _draw_learning(learning, runs)
    _draw_layers(layers, runs, sparsity)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_learning(axes: Axes, runs: Mapping[str, Curve]) -> None:
    for (name, run), (colour, marker, _) in zip(runs.items(), _STYLES, strict=False):
        axes.plot(run.updates, run.uer, color=colour, marker=marker, label=name)
    axes.set(xlabel="updates", ylabel="validation UER, %", title="Unit error rate (UER) of the model as saved")
    axes.set_ylim(0, 1.05 * max(uer for run in runs.values() for uer in run.uer))
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_layers(axes: Axes, runs: Mapping[str, Curve], sparsity: float) -> None:
    looks = dict(zip(runs, _STYLES, strict=False))
    runs = {name: run for name, run in runs.items() if any(run.layers.values())}  # a dense model has no bar to show
    width = 0.8 / max(len(runs), 1)
    for place, (name, run) in enumerate(runs.items()):
        colour, _, hatch = looks[name]
        at = [index + (place - (len(runs) - 1) / 2) * width for index in range(len(run.layers))]
        bars = axes.bar(at, list(run.layers.values()), width, color=colour, hatch=hatch, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
        axes.set_xticks(range(len(run.layers)), list(run.layers))
    axes.axhline(sparsity, color="black", linestyle="--", linewidth=1, label=f"asked for, overall: {sparsity:g}")
    axes.set(xlabel="Transformer layer", ylabel="fraction of zeros", title="Sparsity by layer", ylim=(0, 1))
    axes.legend()
