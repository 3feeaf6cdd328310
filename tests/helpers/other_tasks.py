"""Tasks that this project does not have, pruned: fairseq's pretraining of speech, translation, language modelling."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import tiny

TASK = """
from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.{module} import {name}Config, {name}Task

from fairseq_parp import compat
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.life_cycle import PruningLifeCycle

compat.install()


@dataclass
class Pruned{name}Config(PruningFields, {name}Config):
    pass


@register_task("{registered}", dataclass=Pruned{name}Config)
class Pruned{name}Task(PruningLifeCycle, {name}Task):
    pass
"""

MADE = {
    "pruned_pretraining": ("audio_pretraining", "AudioPretraining"),
    "pruned_language_modeling": ("language_modeling", "LanguageModeling"),  # fairseq's older kind: it has no ``cfg``
}
"""Tasks by name: the module and the name of fairseq's own."""


COMMON = """
common: {user_dir: "???", cpu: true, seed: 7, log_format: json, log_interval: 1}
checkpoint: {save_dir: "???", save_interval_updates: 3, no_epoch_checkpoints: true}
distributed_training: {distributed_world_size: 1, ddp_backend: legacy_ddp}
optimization: {max_update: 8, lr: [0.01]}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
hydra: {run: {dir: .}, output_subdir: null, job_logging: {handlers: {file: {delay: true}}, root: {handlers: [console]}}}
"""


def make_user_dir(folder: Path) -> Path:
    """Write a user dir whose tasks are those of docs/extending.md and of this file."""
    (folder / "tasks").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "tasks" / "__init__.py").touch()
    page = (tiny.ROOT / "docs" / "extending.md").read_text()
    shown = re.search(r"```python\n# my_tasks/(pruned_translation\.py)\n(.*?)```", page, flags=re.DOTALL)
    assert shown
    (folder / "tasks" / shown[1]).write_text(shown[2])
    for registered, (module, name) in MADE.items():
        code = TASK.format(registered=registered, module=module, name=name)
        (folder / "tasks" / f"{registered}.py").write_text(code)
    return folder


def speech(folder: Path) -> str:
    """Audio, and a config of pretraining."""
    tiny.make_corpus(folder / "data", {"train": 9, "valid": 4})
    model = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in tiny.MODEL.items())
    return f"""{COMMON}
task: {{_name: pruned_pretraining, data: {folder}/data, enable_padding: true, min_sample_size: 2000,
  pruning: {{method: parp, sparsity: 0.5, interval: 5}}}}
dataset: {{num_workers: 0, max_tokens: 48000, skip_invalid_size_inputs_valid_test: true}}
criterion: {{_name: wav2vec, infonce: true, log_keys: [prob_perplexity, code_perplexity, temp], loss_weights: [0.1]}}
model:
{model}  mask_length: 3
  num_negatives: 10
"""


def translation(folder: Path) -> str:
    """Sentences that are reversed, and a config of their translation."""
    chance = random.Random(1)
    for split, size in (("train", 40), ("valid", 8)):
        lines = [chance.choices("abcdef", k=chance.randint(3, 7)) for _ in range(size)]
        (folder / f"{split}.xx").write_text("".join(" ".join(line) + "\n" for line in lines))
        (folder / f"{split}.yy").write_text("".join(" ".join(reversed(line)) + "\n" for line in lines))
    arguments = [
        "--source-lang", "xx", "--target-lang", "yy", "--trainpref", str(folder / "train"),
        "--validpref", str(folder / "valid"), "--destdir", str(folder / "data"),
    ]  # fmt: skip
    command = [sys.executable, "-m", "fairseq_cli.preprocess", *arguments]
    subprocess.run(command, cwd=folder, env=tiny.environment(), check=True, capture_output=True)
    return f"""{COMMON}
task: {{_name: pruned_translation, data: {folder}/data, source_lang: xx, target_lang: yy,
  pruning: {{method: parp_p, sparsity: 0.5, start_sparsity: 0.2, interval: 2}}}}
dataset: {{num_workers: 0, batch_size: 8}}
criterion: {{_name: label_smoothed_cross_entropy, label_smoothing: 0.1}}
model: {{_name: transformer, encoder: {{embed_dim: 16, ffn_embed_dim: 32, layers: 2, attention_heads: 2}},
  decoder: {{embed_dim: 16, ffn_embed_dim: 32, layers: 1, attention_heads: 2}}}}
"""


def language_modelling(folder: Path) -> str:
    """Random sentences, and a config of a language model on them."""
    chance = random.Random(1)
    for split, size in (("train", 60), ("valid", 12)):
        lines = (" ".join(chance.choices("abcdef", k=chance.randint(4, 9))) for _ in range(size))
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    arguments = [
        "--only-source", "--trainpref", str(folder / "train.txt"), "--validpref", str(folder / "valid.txt"),
        "--destdir", str(folder / "data"),
    ]  # fmt: skip
    command = [sys.executable, "-m", "fairseq_cli.preprocess", *arguments]
    subprocess.run(command, cwd=folder, env=tiny.environment(), check=True, capture_output=True)
    return f"""{COMMON}
task: {{_name: pruned_language_modeling, data: {folder}/data, tokens_per_sample: 16,
  pruning: {{method: parp, sparsity: 0.5, interval: 2}}}}
dataset: {{num_workers: 0, batch_size: 4}}
criterion: {{_name: cross_entropy}}
model: {{_name: transformer_lm, decoder_embed_dim: 16, decoder_ffn_embed_dim: 32, decoder_layers: 2,
  decoder_attention_heads: 2}}
"""
