"""The whole chain on real text: masked-LM pretraining, then dense, PARP and OMP finetuning, each better than chance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import docstrings
import pytest
import texts
import tiny
from comparing import differences
from in_process import state_of

from fairseq_parp import cli
from fairseq_parp.classification.registry import load_classifier
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count

SMALL = {"unlabelled": 3000, "pretraining": 250, "train": 300, "finetuning": 120}
"""Numbers of texts (of each class) and of updates that are enough to see that it works, in less than a minute."""

SHIPPED = {"unlabelled": 20000, "pretraining": 2000, "train": 450, "finetuning": 400}
"""Those of the recipes and of docs/text.md."""


class Chain:
    """A folder with the data, and the real commands in it."""

    def __init__(self, folder: Path, commands: tiny.Commands, size: dict[str, int]) -> None:
        self.folder, self._commands, self._size = folder, commands, size
        rows = docstrings.labelled({"train": size["train"], "valid": 60, "test": 80})
        pretraining = docstrings.unlabelled(size["unlabelled"]) + [[text] for text, _ in rows["train"]]
        for split, part in (("train", pretraining[100:]), ("valid", pretraining[:100])):
            texts.write_table(folder / f"pretraining_{split}.tsv", part, ["text"])
        for split, part in rows.items():
            texts.write_table(folder / f"{split}.tsv", part)
        self._manifest("pretraining_train", "pretraining_valid", "pretraining", "--vocabulary", "2000")
        tokenizer = str(folder / "pretraining" / "tokenizer")
        self._manifest("train", "valid", "data", "--test", str(folder / "test.tsv"), "--tokenizer", tokenizer)

    def _manifest(self, train: str, valid: str, out: str, *options: str) -> None:
        argv = ["manifest", "text", *(str(self.folder / name) for name in (f"{train}.tsv",)), *options]
        argv += ["--valid", str(self.folder / f"{valid}.tsv"), "--out", str(self.folder / out)]
        assert cli.main(argv) == 0

    def train(self, name: str, config: str, *settings: str, kill_at: str = "") -> Path:
        """Run a recipe; return its last checkpoint."""
        updates = self._size["pretraining" if config == "pretrain_text" else "finetuning"]
        data = "pretraining" if config == "pretrain_text" else "data"
        arguments = [
            "--config-dir", str(tiny.ROOT / "configs"), "--config-name", config, f"common.user_dir={tiny.PLUGIN}",
            f"task.data={self.folder / data}", f"checkpoint.save_dir={self.folder / name}",
            f"optimization.max_update={updates}", f"checkpoint.save_interval_updates={updates // 4}",
            f"dataset.validate_interval_updates={updates // 2}", *settings,
        ]  # fmt: skip
        self._commands.train(self.folder, arguments, None if kill_at else 0, kill_at=kill_at)
        return self.folder / name / "checkpoint_last.pt"

    def finetune(self, name: str, *settings: str, **options: Any) -> Path:
        start = f"checkpoint.finetune_from_model={self.folder / 'pretrained' / 'checkpoint_last.pt'}"
        return self.train(name, "small_text", start, *settings, **options)

    def points_above_the_majority(self, checkpoint: Path) -> float:
        """Return by how many points of accuracy a model beats the most frequent label on the test texts."""
        found = list(load_classifier(checkpoint).classify_split(str(self.folder / "data"), "test"))
        majority = max(Counter(each.true for each in found).values())
        return 100 * (sum(each.label == each.true for each in found) - majority) / len(found)


def require_the_chain_works(chain: Chain) -> None:
    """Pretrain, finetune by three methods, and check what comes out."""
    chain.train("pretrained", "pretrain_text")
    dense = chain.finetune("dense", "task.pruning.method=dense")
    parp = chain.finetune("parp")
    mask = str(chain.folder / "omp.safetensors")
    assert cli.main(["mask", "make", str(dense), "--sparsity", "0.5", "-o", mask]) == 0
    omp = chain.finetune("omp", "task.pruning.method=fixed", f"task.pruning.mask={mask}")
    points = {file.parent.name: chain.points_above_the_majority(file) for file in (dense, parp, omp)}
    assert min(points.values()) >= 20, points
    for checkpoint in (parp, omp):
        found = report(checkpoint).prunable
        assert found.zeros == zero_count(0.5, found.size)
    words = [word for row in (chain.folder / "test.tsv").read_text().lower().splitlines()[1:]
             for word in docstrings.LABELS.values() if word in row.split("\t")[0]]  # fmt: skip
    assert words == []


def test_a_small_encoder_learns_and_resumes_to_the_last_bit(commands: tiny.Commands, tmp_path: Path) -> None:
    chain = Chain(tmp_path, commands, SMALL)
    require_the_chain_works(chain)
    last = chain.finetune("killed", kill_at='"num_updates": "80"')
    assert not list(last.parent.glob("*_90.pt"))
    chain.finetune("killed")
    assert differences(*(state_of(file) for file in (last, chain.folder / "parp" / "checkpoint_last.pt"))) == []


@pytest.mark.slow
def test_the_shipped_recipes_learn(commands: tiny.Commands, tmp_path: Path) -> None:
    require_the_chain_works(Chain(tmp_path, commands, SHIPPED))
