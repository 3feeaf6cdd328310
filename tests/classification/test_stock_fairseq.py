"""What docs/classification.md has about fairseq's own task and model, observed in the installed fairseq."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import labelled
import pytest
import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.models.wav2vec.wav2vec2_classification import (
    MeanPoolingFast,
    Wav2Vec2ClassificationConfig,
    Wav2VecClassification,
    get_pooling_layer,
)
from fairseq.tasks.audio_classification import AudioClassificationConfig, AudioClassificationTask
from omegaconf import OmegaConf


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return labelled.make_data(tmp_path, {"train": 3, "valid": 3})


def stock(data: Path, padding: bool = True) -> Any:
    """fairseq's own task, its dictionary by default with the indices that loading a split reads first."""
    config = OmegaConf.structured(AudioClassificationConfig(data=str(data), labels="label", tpu=False))
    task = AudioClassificationTask(config)
    if padding:
        task.target_dictionary.pad_index = task.target_dictionary.eos_index = -1
    return task


class Encoder(torch.nn.Module):
    """In place of a pretrained encoder: one frame of four numbers for an utterance; counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.runs = torch.nn.Linear(1, 4), 0

    def forward(self, source: torch.Tensor, padding_mask: torch.Tensor) -> dict[str, Any]:  # noqa: ARG002 (the model names it)
        self.runs += 1
        return {"encoder_out": self.map(source.std(1, keepdim=True))[None], "padding_mask": None}


def batch(data: Path) -> tuple[Any, Any, Any]:
    """Return fairseq's task, a batch of the training split, and fairseq's model over a stand-in for the encoder."""
    task = stock(data)
    task.load_dataset("train")
    dataset = task.dataset("train")
    config = Wav2Vec2ClassificationConfig(pooling="mean")
    model = Wav2VecClassification(config, Encoder(), get_pooling_layer(config, 4, 3, 1))
    assert isinstance(model.pooling_layer, MeanPoolingFast)
    return task, dataset.collater([dataset[index] for index in range(3)]), model


def test_loading_a_split_reads_an_index_of_padding_that_is_not_there(data: Path) -> None:
    with pytest.raises(AttributeError, match="pad_index"):
        stock(data, padding=False).load_dataset("train")


def test_a_label_that_the_dictionary_lacks_reads_an_index_that_is_not_there(data: Path) -> None:
    (data / "train.label").write_text("high\nlow\nother\n")
    task = stock(data)
    task.load_dataset("train")
    assert task.dataset("train")[0]["label"].numel() == 1
    with pytest.raises(AttributeError, match="unk_index"):
        task.dataset("train")[2]


def test_its_default_pooling_fails_without_a_message() -> None:
    config = Wav2Vec2ClassificationConfig()
    assert config.pooling == "first_token"
    with pytest.raises(AssertionError) as caught:
        get_pooling_layer(config, 4, 3, 1)
    assert str(caught.value) == ""


@pytest.mark.parametrize("step", ["train_step", "valid_step"])
def test_a_step_runs_the_model_twice(step: str, data: Path) -> None:
    task, sample, model = batch(data)
    criterion = CrossEntropyCriterion(task, sentence_avg=True)
    more = [SimpleNamespace(backward=lambda loss: loss.backward()), 0] if step == "train_step" else []
    getattr(task, step)(sample, model, criterion, *more)
    assert model.w2v_encoder.runs == 2


def test_a_line_with_two_labels_ends_in_a_mismatch_of_sizes(data: Path) -> None:
    (data / "train.label").write_text("high low\nlow\nmiddle\n")
    task, sample, model = batch(data)
    with pytest.raises(ValueError, match="batch_size"):
        task.valid_step(sample, model, CrossEntropyCriterion(task, sentence_avg=True))
