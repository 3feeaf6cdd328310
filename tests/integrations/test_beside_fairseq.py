"""The same finetuning by fairseq and by transformers' Trainer: weights, batches, optimizer and pruning are equal."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers
from fairseq.criterions.ctc import CtcCriterion
from fairseq.optim.adam import Adam
from in_process import common, state_of, train
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.source import Source
from fairseq_parp.export.to_transformers import checkpoint_names
from fairseq_parp.integrations.transformers import PruningCallback
from fairseq_parp.sparsity import find_parameters
from fairseq_parp.training.life_cycle import PruningLifeCycle

UPDATES = 20
PRUNING: dict[str, Any] = {"method": "parp", "sparsity": 0.5, "interval": 3}
LEARNING_RATE = 1e-3
SYMBOLS = ["<pad>", "<s>", "</s>", "<unk>", *tiny.LETTERS, "|"]
"""fairseq's, but for the names of the first two."""

FAIRSEQ_PAD = 1
NOTHING_RANDOM = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout",
                  "layerdrop", "mask_time_prob", "mask_feature_prob")  # fmt: skip


class Finetuned:
    """What a training of fairseq's left behind.

    Attributes:
        model: fairseq's, of which the weights are at ``start`` again.
        criterion: fairseq's.
        batches: of all updates, in order.
        saved: the last checkpoint's tensors.
        theirs: transformers' model at the same start.
        names: of its tensors, by fairseq's.
    """

    model: nn.Module
    criterion: CtcCriterion
    start: dict[str, Tensor]
    saved: dict[str, Tensor]
    theirs: nn.Module
    names: dict[str, str]

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []


@pytest.fixture(scope="module")
def finetuned_by_fairseq(tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """A training of two batches of 8: dividing by 8 rounds nothing, whenever it happens."""
    folder = tmp_path_factory.mktemp("beside")
    data = tiny.make_corpus(folder / "data", {"train": 16, "valid": 2})
    found = Finetuned()
    found.theirs = _start(folder)
    found.names = checkpoint_names(Source.open(folder / "whole.pt"))
    step = PruningLifeCycle.train_step

    def recorded(self: Any, sample: Any, model: Any, criterion: Any, *args: Any, **kwargs: Any) -> Any:
        if not found.batches:
            found.start = {name: value.clone() for name, value in model.state_dict().items()}
        found.batches.append(copy.deepcopy(sample))
        found.model, found.criterion = model, criterion
        return step(self, sample, model, criterion, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PruningLifeCycle, "train_step", recorded)
        train(_recipe(folder, data), folder / "fairseq", **PRUNING)
    found.saved = state_of(folder / "fairseq" / "checkpoint_last.pt")[0]
    assert [len(each["id"]) for each in found.batches] == [8] * UPDATES
    return found


def _start(folder: Path) -> nn.Module:
    """Save a random model, and the checkpoints of it and of its encoder for fairseq."""
    torch.manual_seed(2)
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=len(SYMBOLS),
        conv_dim=[16, 16, 16], conv_kernel=[10, 8, 4], conv_stride=[8, 8, 4], num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, pad_token_id=0, ctc_loss_reduction="sum",
        ctc_zero_infinity=True, **dict.fromkeys(NOTHING_RANDOM, 0.0),
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config)
    model.save_pretrained(folder / "whole")
    model.wav2vec2.save_pretrained(folder / "encoder")
    (folder / "whole" / "vocab.json").write_text(json.dumps({each: n for n, each in enumerate(SYMBOLS)}))
    for name in ("whole", "encoder"):
        import_folder(folder / name, folder / f"{name}.pt", normalize=False)
    model.freeze_feature_encoder()
    return model  # type: ignore[no-any-return]


def _recipe(folder: Path, data: Path) -> dict[str, Any]:
    nothing_random = ("mask_prob", "mask_channel_prob", "layerdrop", "dropout", "attention_dropout",
                      "activation_dropout", "dropout_input", "final_dropout")  # fmt: skip
    return common() | {
        "checkpoint": {"finetune_from_model": str(folder / "whole.pt"), "no_epoch_checkpoints": True},
        "optimization": {"max_update": UPDATES, "lr": [LEARNING_RATE], "sentence_avg": True},
        "task": {"_name": "parp_finetuning", "data": str(data), "labels": "ltr", "normalize": False},
        "dataset": {"num_workers": 0, "batch_size": 8, "disable_validation": True},
        "criterion": {"_name": "ctc", "zero_infinity": True},
        "model": {
            "_name": "parp_wav2vec_ctc", "w2v_path": str(folder / "encoder.pt"), "apply_mask": False,
            "feature_grad_mult": 0.0, "freeze_finetune_updates": 0, **dict.fromkeys(nothing_random, 0.0),
        },
    }  # fmt: skip


class UnderFairseqsCriterion(nn.Module):
    """A model of fairseq's, whose output is the criterion's."""

    def __init__(self, model: nn.Module, criterion: CtcCriterion) -> None:
        super().__init__()
        self.model, self._criterion = model, criterion

    def forward(self, **sample: Any) -> Any:
        return self._criterion(self.model, sample)


def by_trainer(
    folder: Path, model: nn.Module, batches: list[dict[str, Any]], loss: Callable[[nn.Module, Any], Tensor]
) -> dict[str, Tensor]:
    class GivenBatches(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(self.train_dataset, batch_size=None)

        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Tensor:
            return loss(model, inputs)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = Adam(trained, lr=LEARNING_RATE, betas=(0.9, 0.98), eps=1e-8)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=UPDATES, max_grad_norm=0.0, use_cpu=True, save_strategy="no",
        report_to="none", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _update: 1.0)
    GivenBatches(
        model, arguments, train_dataset=batches, callbacks=[PruningCallback(**PRUNING)],
        optimizers=(optimizer, constant),
    ).train()  # fmt: skip
    return model.state_dict()


def test_fairseqs_model_is_equal_bit_for_bit_after_20_updates(finetuned_by_fairseq: Finetuned, tmp_path: Path) -> None:
    run = finetuned_by_fairseq
    run.model.load_state_dict(run.start)
    wrapped = UnderFairseqsCriterion(run.model, run.criterion)

    def loss(model: nn.Module, sample: Any) -> Tensor:
        total, sentences, _ = model(**sample)
        return total / sentences  # type: ignore[no-any-return]

    trained = by_trainer(tmp_path, wrapped, run.batches, loss)
    for name, value in run.saved.items():
        assert trained[f"model.{name}"].equal(value), name
    moved = max(float((run.saved[name] - value).abs().max()) for name, value in run.start.items())
    assert moved > 10 * LEARNING_RATE


def test_transformers_model_has_the_same_masks_after_20_updates(
    finetuned_by_fairseq: Finetuned, tmp_path: Path
) -> None:
    """What differs is rounding: the two models add in another order."""
    run = finetuned_by_fairseq
    batches = [
        {
            "input_values": sample["net_input"]["source"],
            "attention_mask": (~sample["net_input"]["padding_mask"]).long(),
            "labels": sample["target"].masked_fill(sample["target"] == FAIRSEQ_PAD, -100),
        }
        for sample in run.batches
    ]
    trained = by_trainer(tmp_path, run.theirs, batches, lambda model, batch: model(**batch).loss / 8)
    scope = find_parameters(run.theirs)
    pairs = {theirs: (run.saved[ours], trained[theirs]) for ours, theirs in run.names.items() if theirs in scope}
    assert pairs.keys() == scope.keys()
    elsewhere = sum(int(((ours == 0) != (theirs == 0)).sum()) for ours, theirs in pairs.values())
    largest = max(float((ours - theirs)[(ours != 0) & (theirs != 0)].abs().max()) for ours, theirs in pairs.values()
                  if bool(((ours != 0) & (theirs != 0)).any()))  # fmt: skip
    print(f"zeros elsewhere: {elsewhere}; largest difference of a weight: {largest:.3g}")
    assert elsewhere <= 2, "one weight at the threshold may change places with another"
    assert largest < 1e-5
