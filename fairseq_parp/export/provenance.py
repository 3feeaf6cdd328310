"""The facts about the training on a model card: data, base, error rates, versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from fairseq_parp.environment.libraries import versions
from fairseq_parp.export.source import Source
from fairseq_parp.files import sha256
from fairseq_parp.scoring import Score, score_file

Results = Sequence[tuple[str, Score]]
"""Error rates of files that fairseq-generate wrote, by the files' names."""


def scored(files: Sequence[str | Path]) -> Results:
    """Return the error rates of each file.

    Raises:
        ConfigError, ResultsError: a file cannot be read, or is no output of fairseq-generate.
    """
    return [(Path(file).name, score_file(file)) for file in files]


def training(source: Source, results: Results) -> list[str]:
    """Return the facts of the checkpoint and its results, as Markdown items."""
    lines = (*_data(source), *_base(source), *_rates(source, results), f"Versions: {versions()}.")
    return [f"- {line}" for line in lines]


def _data(source: Source) -> Iterator[str]:
    data, trained, valid = (
        OmegaConf.select(source.cfg, key) for key in ("task.data", "dataset.train_subset", "dataset.valid_subset")
    )
    if data:
        yield f"Data: folder `{Path(str(data)).name}`, trained on `{trained}`, validated on `{valid}`."
    if updates := ((source.state.get("optimizer_history") or [{}])[-1] or {}).get("num_updates"):
        yield f"Updates: {updates}."


def _base(source: Source) -> Iterator[str]:
    path = OmegaConf.select(source.cfg, "model.w2v_path") if source.finetuned else None
    if path and (file := Path(str(path))).is_file():
        yield f"Base: `{file.name}`, SHA-256 {sha256(file)}."
    elif path:
        yield f"Base: `{Path(str(path)).name}`; the file was missing at the export, so its checksum is not known."


def _rates(source: Source, results: Results) -> Iterator[str]:
    best = (source.state.get("extra_state") or {}).get("best")
    metric = OmegaConf.select(source.cfg, "checkpoint.best_checkpoint_metric")
    if best is not None and metric:
        yield f"Best `{metric}` of a validation: {best:.4g}."
    for name, score in results:
        words = f", WER {score.words.percent:.2f} %" if score.words else ""
        count = f"{score.utterances} utterances"
        yield f"`{name}`: UER {score.units.percent:.2f} %{words}, {count} (`fairseq-parp score {name}`)."
    if source.finetuned and not results:
        yield "UER and WER: not stated at the export (`--results FILE` of fairseq-generate)."
