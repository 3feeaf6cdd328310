"""A stock finetuning recipe of fairseq as one that prunes: few lines change, the others and comments stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import ConfigError, absolute, first_line
from fairseq_parp.kinds import unreadable

TASKS = ("audio_finetuning", "audio_pretraining", "parp_finetuning")
HUBERT_TASK = "hubert_pretraining"
"""HuBERT's recipes name the task of its pretraining, with ``fine_tuning: true``."""

_HUBERT_KEYS = ("fine_tuning", "single_target", "label_dir", "label_rate", "pad_audio", "random_crop", "max_keep_size")
"""Keys of that task that ``audio_finetuning`` does not have."""

MODELS: Mapping[str, str] = {
    "wav2vec_ctc": "parp_wav2vec_ctc",
    "parp_wav2vec_ctc": "parp_wav2vec_ctc",
    "hubert_ctc": "parp_hubert_ctc",
    "parp_hubert_ctc": "parp_hubert_ctc",
}
"""Models that can be pruned, and their names with pruning."""

PRUNING = "{method: parp, sparsity: 0.5, interval: 50}"


class Change(NamedTuple):
    """One key that changes: its value before and after (None if it is absent), and the reason."""

    key: str
    before: str | None
    after: str | None
    reason: str

    def __str__(self) -> str:
        """Return the lines of a diff, the reason first."""
        lines = [f"# {self.reason}"]
        lines += [f"-{self.key}: {self.before}"] * (self.before is not None)
        return "\n".join([*lines, *[f"+{self.key}: {self.after}"] * (self.after is not None)])


def convert(file: Path, save_dir: str) -> tuple[str, list[Change]]:
    """Return the text of the converted recipe, and the changes.

    Args:
        file: fairseq's YAML.
        save_dir: folder for the checkpoints, where the recipe names none.

    Raises:
        ConfigError: the file cannot be read, or is no CTC finetuning of a model that can be pruned here.
    """
    try:
        text = file.read_text(encoding="utf-8")
        recipe = yaml.load(text, Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("recipe", absolute(file), unreadable(file, error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else first_line(error)
        raise ConfigError("recipe", absolute(file), f"cannot be read as YAML ({where})") from None
    _require(file, recipe)
    changes = _changes(recipe, save_dir)
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    for change in changes:
        lines = _edited(lines, change)
    converted = "\n".join([*_without(lines, "hydra"), "", *_hydra_lines(), ""])
    if yaml.load(converted, Loader=yaml.BaseLoader) != _expected(recipe, changes):
        raise ConfigError("recipe", absolute(file), "is not written with one key a line below its group; rewrite it so")
    reason = "relative paths start from the folder of the command, and repeating the command resumes"
    theirs = json.dumps(recipe["hydra"]) if "hydra" in recipe else None
    return converted, [*changes, Change("hydra", theirs, "{run: {dir: .}, output_subdir: null, ...}", reason)]


def _require(file: Path, recipe: Any) -> None:
    if not isinstance(recipe, dict) or not all(isinstance(recipe.get(group), dict) for group in ("task", "model")):
        raise ConfigError(
            "recipe", absolute(file), "is not a finetuning of fairseq: it needs the groups task and model"
        )
    task, model = recipe["task"].get("_name"), recipe["model"].get("_name")
    if model not in MODELS:
        raise ConfigError("model._name", model, f"cannot be pruned here; {', '.join(MODELS)} can")
    if task == HUBERT_TASK and recipe["task"].get("fine_tuning", "").lower() == "true":
        task = "audio_finetuning"
    if task not in TASKS:
        raise ConfigError("task._name", task, f"is not a finetuning with CTC labels; {', '.join(TASKS)} are")
    if not recipe["task"].get("labels"):
        raise ConfigError("task.labels", None, "names no labels, so this is a pretraining; ltr are letters, phn phones")


def _changes(recipe: Mapping[str, Any], save_dir: str) -> list[Change]:
    def value(key: str) -> str | None:
        group, _, leaf = key.partition(".")
        found = (recipe.get(group) or {}).get(leaf)
        return found if found is None or isinstance(found, str) else json.dumps(found)

    frozen = value("model.freeze_finetune_updates")
    wanted: list[tuple[str, str | None, str]] = [
        ("task._name", "parp_finetuning", "fairseq's audio_finetuning, which also prunes"),
        ("task.pruning", value("task.pruning") or PRUNING, "scope, interval and sparsity of the pruning"),
        ("model._name", MODELS[recipe["model"]["_name"]], "the same model; its checkpoints load into the stock one"),
        ("common.user_dir", json.dumps(str(PLUGIN)), "where fairseq finds the plugin, from any folder"),
        ("model.freeze_finetune_updates", "0", "PARP has nothing to adjust while the Transformer is frozen"),
    ]
    if recipe["task"]["_name"] == HUBERT_TASK:
        wanted += _of_hubert(recipe["task"])
    if value("checkpoint.save_dir") is None:
        wanted.append(("checkpoint.save_dir", save_dir, "each recipe's checkpoints have a folder of their own"))
    if frozen and value("dataset.validate_after_updates") == frozen:
        wanted.append(("dataset.validate_after_updates", "0", "nothing is frozen, so there is something to validate"))
    for leaf in recipe.get("criterion") or {}:
        if leaf.startswith("wer_"):
            reason = "a language model on its author's disk, for validation; fairseq-generate takes one"
            wanted.append((f"criterion.{leaf}", None, reason))
    return [Change(key, value(key), after, reason) for key, after, reason in wanted if value(key) != after]


def _of_hubert(task: Mapping[str, Any]) -> list[tuple[str, str | None, str]]:
    """Return the changes in the task of a HuBERT recipe: keys, new values, reasons."""
    labels = task["labels"]
    if not isinstance(labels, str) and len(labels) != 1:
        raise ConfigError("task.labels", labels, "a finetuning has one kind of labels, such as [ltr]")
    one = labels if isinstance(labels, str) else labels[0]
    reasons = dict.fromkeys(_HUBERT_KEYS, "a key of HuBERT's own task")
    reasons["label_dir"] = "the labels lie in task.data, beside the lists of the audio"
    changes = [(f"task.{key}", None, reason) for key, reason in reasons.items() if key in task]
    return [("task.labels", one, "one kind of labels"), *changes]


def _edited(lines: list[str], change: Change) -> list[str]:
    """Return the lines with one key set, added or removed."""
    group, _, leaf = change.key.partition(".")
    start = next((at for at, line in enumerate(lines) if re.match(rf"{group}:\s*(#.*)?$", line)), None)
    if start is None:
        return [*lines, "", f"{group}:", f"  {leaf}: {change.after}"]
    end = next((at for at in range(start + 1, len(lines)) if re.match(r"\w", lines[at])), len(lines))
    at = next((at for at in range(start + 1, end) if re.match(rf"  {leaf}:", lines[at])), None)
    new = [] if change.after is None else [f"  {leaf}: {change.after}"]
    where = start + 1 if at is None else at
    return [*lines[:where], *new, *lines[where + (at is not None) :]]


def _without(lines: list[str], group: str) -> list[str]:
    """Return the lines without a group, and without blank lines at the end."""
    kept, inside = [], False
    for line in lines:
        inside = line.startswith(f"{group}:") or (inside and not re.match(r"\w", line))
        kept += [] if inside else [line]
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _hydra_lines() -> list[str]:
    """Return the group hydra of the shipped recipes."""
    lines = (configs() / "base_10m.yaml").read_text(encoding="utf-8").splitlines()
    return lines[lines.index("hydra:") :]


def _expected(recipe: Mapping[str, Any], changes: list[Change]) -> dict[str, Any]:
    """Return the recipe as a parser has to read it after the changes."""
    wanted: dict[str, Any] = {group: dict(keys) if isinstance(keys, dict) else keys for group, keys in recipe.items()}
    for change in changes:
        group, _, leaf = change.key.partition(".")
        wanted[group] = wanted.get(group) or {}
        if change.after is None:
            del wanted[group][leaf]
        else:
            wanted[group][leaf] = yaml.load(change.after, Loader=yaml.BaseLoader)
    return {**wanted, **yaml.load("\n".join(_hydra_lines()), Loader=yaml.BaseLoader)}
