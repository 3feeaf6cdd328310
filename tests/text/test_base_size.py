"""The scope of the paper in RoBERTa base, built by fairseq at its real size."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace

from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_parp.sparsity.scope import find_parameters


def test_roberta_base_has_as_many_prunable_weights_as_wav2vec_base() -> None:
    task = SimpleNamespace(source_dictionary=Dictionary())
    args = Namespace(max_positions=512)
    ARCH_CONFIG_REGISTRY["roberta_base"](args)
    model = ARCH_MODEL_REGISTRY["roberta_base"].build_model(args, task)
    model.register_classification_head("sentence_classification_head", num_classes=2)
    found = find_parameters(model)
    assert len(found) == 144
    assert sum(parameter.numel() for parameter in found.values()) == 85_017_600
    assert {name.split(".")[2] for name in found} == {"layers"}
