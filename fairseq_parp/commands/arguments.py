"""The commands that train and decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairseq_parp.environment.paths import PLUGIN


def quoted(path: str | Path) -> str:
    """Return a path as a value of a hydra override, which other characters than these would end.

    >>> quoted("outputs/base_10m"), quoted("it's here (1)")
    ('outputs/base_10m', "'it\\\\'s here (1)'")
    """
    text = str(path)
    plain = all((letter.isascii() and letter.isalnum()) or letter in "/._-" for letter in text)
    return text if plain else "'" + text.replace("'", "\\'") + "'"


def train_command(config: str | Path, settings: Sequence[str], plugin: str | Path = PLUGIN) -> list[str]:
    """Return the command of a training.

    Args:
        config: YAML file.
        settings: hydra overrides, such as ``optimization.max_update=300``.
        plugin: the folder of this package, as it is to be written.
    """
    file = Path(config)
    argv = ["fairseq-hydra-train", "--config-dir", str(file.parent), "--config-name", file.stem]
    return [*argv, f"common.user_dir={quoted(plugin)}", *settings]


def generate_command(
    data: str | Path,
    checkpoint: str | Path,
    results: str | Path,
    *,
    task: str = "parp_finetuning",
    labels: str = "ltr",
    subset: str = "test",
    beam: int = 1,
    cpu: bool = False,
    plugin: str | Path = PLUGIN,
) -> list[str]:
    """Return the command of a decoding; letters are joined to words, phones stay symbols, a classifier gives a label.

    Args:
        data: folder of the manifests.
        checkpoint: finetuned model.
        results: folder for ``generate-SUBSET.txt``.
        task: the one that trained the model.
        labels: kind of labels, ``ltr``, ``phn`` or ``label``.
        subset: split to decode.
        beam: 1 is greedy.
        cpu: whether to decode on the CPU where there is a GPU.
        plugin: the folder of this package, as it is to be written.
    """
    argv = ["fairseq-generate", str(data), "--user-dir", str(plugin), "--task", task, "--labels", labels]
    argv += ["--gen-subset", subset, "--scoring", "wer", "--max-tokens", "1280000", "--beam", str(beam)]
    argv += ["--post-process", "letter"] * (labels == "ltr") + ["--cpu"] * cpu
    return [*argv, "--path", str(checkpoint), "--results-path", str(results)]


def validate_command(
    data: str | Path,
    checkpoint: str | Path,
    *,
    task: str,
    subset: str,
    batch_size: int,
    cpu: bool = False,
    plugin: str | Path = PLUGIN,
) -> list[str]:
    """Return the command that validates a pretraining; the last line of its output has the metrics as JSON.

    Args:
        data: folder of the manifests.
        checkpoint: pretrained model.
        task: the one that trained the model.
        subset: split to validate.
        batch_size: utterances of a batch, which are each other's negatives.
        cpu: whether to validate on the CPU where there is a GPU.
        plugin: the folder of this package, as it is to be written.
    """
    argv = ["fairseq-validate", str(data), "--user-dir", str(plugin), "--task", task, "--valid-subset", subset]
    argv += ["--batch-size", str(batch_size), "--required-batch-size-multiple", "1", "--log-format", "json"]
    return [*argv, *["--cpu"] * cpu, "--path", str(checkpoint)]


def classify_command(
    data: str | Path, checkpoint: str | Path, results: str | Path, *, subset: str = "test", plugin: str | Path = PLUGIN
) -> list[str]:
    """Return the command that classifies a split of texts.

    Args:
        data: binarised folder.
        checkpoint: finetuned model.
        results: file to write, of the form of fairseq-generate's.
        subset: split to classify.
        plugin: the folder of this package, as it is to be written.
    """
    argv = ["python", str(plugin), "classify", str(checkpoint), "--data", str(data), "--split", subset]
    return [*argv, "--results", str(results)]
