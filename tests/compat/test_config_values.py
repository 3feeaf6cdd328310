"""A key or value that a config class of the plugin does not take: one line, with the choices where there are some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import EnumNode, OmegaConf, ValidationError

from fairseq_parp.errors import OneLineExit
from fairseq_parp.plugin import load_plugin

OURS = {
    "task": ["grounded_pretraining", "parp_audio_classification", "parp_finetuning", "parp_sentence_prediction"],
    "model": ["grounded_text", "grounded_wav2vec2", "parp_hubert_ctc", "parp_wav2vec_classification",
              "parp_wav2vec_ctc"],
    "criterion": ["grounded"],
}  # fmt: skip

WITHOUT_CHOICES = ("grounded", "grounded_text")


@pytest.fixture(scope="module")
def dataclasses() -> dict[str, dict[str, Any]]:
    """The config classes of the groups, by name."""
    load_plugin()
    criteria = REGISTRIES["criterion"]["dataclass_registry"]
    return {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY, "criterion": criteria}


def choices(node: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of a config that have choices, and these."""
    for key in node:
        inner = node._get_node(key)
        if isinstance(inner, EnumNode):
            yield f"{prefix}{key}", list(inner.enum_type.__members__)
        elif OmegaConf.is_dict(inner) and not inner._is_none() and not inner._is_missing():
            yield from choices(inner, f"{prefix}{key}.")


def line(key: str, value: object, name: str) -> str:
    """Return the line in which the start of a training with such a value ends."""
    cfg = OmegaConf.create({key.partition(".")[0]: {"_name": name}})
    OmegaConf.update(cfg, key, value)
    with pytest.raises(OneLineExit) as stop:
        add_defaults(OmegaConf.merge(OmegaConf.structured(FairseqConfig), cfg))
    return str(stop.value)


def test_every_config_class_is_listed_here(dataclasses: dict[str, dict[str, Any]]) -> None:
    for group, known in dataclasses.items():
        assert sorted(name for name, each in known.items() if each.__module__.startswith("fairseq_parp")) == OURS[group]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in OURS for name in OURS[group]])
def test_choices(dataclasses: dict[str, dict[str, Any]], group: str, name: str) -> None:
    found = dict(choices(OmegaConf.structured(dataclasses[group][name])))
    assert bool(found) == (name not in WITHOUT_CHOICES)
    for key, allowed in found.items():
        start = f"fairseq_parp: {group}.{key}='sideways': must be one of {', '.join(allowed)}"
        assert line(f"{group}.{key}", "sideways", name) in (start, f"{start}, or null")


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("task.max_sample_size", "long", "parp_finetuning", "='long': must be a whole number, or null"),
        ("task.normalize", "perhaps", "parp_audio_classification", "='perhaps': must be true or false"),
        ("task.max_positions", 2.5, "parp_sentence_prediction", "=2.5: must be a whole number"),
        ("task.eval_wer_config.beam", "wide", "parp_finetuning", "='wide': must be a whole number"),
        ("task.shorten_method", None, "parp_sentence_prediction", "=None: must be one of none, truncate, random_crop"),
        ("task.labls", "ltr", "parp_finetuning", "='ltr': no such key; did you mean labels? Known keys: "),
        ("model.layerdrop", "often", "parp_wav2vec_ctc", "='often': must be a number"),
        ("model.layerdorp", 0.1, "parp_hubert_ctc", "=0.1: no such key; did you mean layerdrop? Known keys: "),
    ],
)
def test_other_values(
    dataclasses: dict[str, dict[str, Any]], key: str, value: object, name: str, expected: str
) -> None:
    assert dataclasses
    assert line(key, value, name).startswith(f"fairseq_parp: {key}{expected}")


def test_other_tasks_meet_stock_fairseq(dataclasses: dict[str, dict[str, Any]]) -> None:
    assert dataclasses
    with pytest.raises(ValidationError, match="sideways"):
        add_defaults(OmegaConf.create({"task": {"_name": "sentence_prediction", "shorten_method": "sideways"}}))
