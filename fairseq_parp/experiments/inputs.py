"""The files that a step reads from outside its experiment, identified by their content.

An experiment can continue days later. If a recipe, manifest or pretrained checkpoint changed meanwhile, one table would
have runs of two experiments. Therefore every step records the SHA-256 of the files that it reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from fairseq_parp.experiments.base import BaseConfig
from fairseq_parp.files import sha256

ABSENT = "absent"


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Return the digest of each file by its absolute path: 64 hex digits, or ``absent``."""
    return {str(file.absolute()): _digest(file.absolute()) for file in files}


def manifests(folder: Path, base: BaseConfig, splits: Iterable[str]) -> tuple[Path, ...]:
    """Return the files of a data folder that some splits are read from: manifests, labels and the dictionary."""
    if base.pretrains:
        lists = (folder / f"{split.strip()}.{kind}" for split in splits for kind in ("tsv", "img"))
        return (*lists, folder / "images.safetensors")
    if base.classifies_text:
        tokenizer = (folder / "tokenizer" / name for name in ("encoder.json", "vocab.bpe"))
        examples = (file for split in splits for file in sorted(folder.glob(f"*/{split.strip()}.*")))
        return (*sorted(folder.glob("*/dict.txt")), *tokenizer, *examples)
    labels = base.get("task.labels", "ltr")
    files = [f"{split.strip()}.{kind}" for split in splits for kind in ("tsv", labels)]
    return tuple(folder / name for name in (*files, f"dict.{labels}.txt"))


def training_splits(base: BaseConfig) -> list[str]:
    """Return the splits that a recipe trains and validates on."""
    subsets = base.get("dataset.train_subset", "train"), base.get("dataset.valid_subset", "valid")
    return [split for subset in subsets for split in str(subset).split(",")]


def _digest(file: Path) -> str:
    if not file.is_file():
        return ABSENT
    found = file.stat()
    return _sha256(file, found.st_size, found.st_mtime_ns)


@cache
def _sha256(file: Path, size: int, modified: int) -> str:  # noqa: ARG001 (the cache's key: a changed file is read again)
    """Return the SHA-256 of a file; of a YAML that of its keys and values, so that comments may change."""
    if file.suffix == ".yaml":
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return sha256(file)
