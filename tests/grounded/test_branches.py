"""Audio heads and image branch: padding changes nothing, and every part gets a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_parp.grounded.audio import HEADS, AudioHead, MaskedBatchNorm
from fairseq_parp.grounded.image import ImageBranch
from fairseq_parp.sparsity.scope import in_paper_scope


@pytest.mark.parametrize("cls", [True, False])
@pytest.mark.parametrize("kind", HEADS)
def test_padding_changes_no_embedding(kind: str, cls: bool) -> None:
    torch.manual_seed(1)
    head = AudioHead(kind, 12, 16, 2, 0.0, cls).eval()
    lengths = [37, 1, 16, 33]
    utterances = [torch.randn(1, length, 12) for length in lengths]
    vector = torch.randn(4, 12) if cls else None
    alone = [head(each, None, vector[i : i + 1] if vector is not None else None) for i, each in enumerate(utterances)]
    batch = torch.full((4, 50, 12), 1e3)
    for row, each in zip(batch, utterances, strict=True):
        row[: each.shape[1]] = each[0]
    padding = torch.arange(50) >= torch.tensor(lengths)[:, None]
    torch.testing.assert_close(head(batch, padding, vector), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_batch_norm_counts_the_frames_of_utterances_alone() -> None:
    torch.manual_seed(2)
    x, lengths = torch.randn(2, 3, 9), torch.tensor([9, 4])
    ours, stock = MaskedBatchNorm(3), nn.BatchNorm1d(3)
    found = ours.forward_real(x, lengths)
    expected = stock(torch.cat([x[0, :, :9], x[1, :, :4]], 1).t())
    torch.testing.assert_close(torch.cat([found[0, :, :9], found[1, :, :4]], 1).t(), expected)
    assert not found[1, :, 4:].any()
    torch.testing.assert_close(ours.running_var, stock.running_var)


@pytest.mark.parametrize("kind", HEADS)
def test_every_parameter_gets_a_gradient_and_none_is_in_parps_scope(kind: str) -> None:
    torch.manual_seed(3)
    grounded = nn.ModuleDict(
        {"audio": AudioHead(kind, 12, 16, 2, 0.1, True), "image": ImageBranch(20, 16, 2, 2, 0.1, True)}
    )
    audio = grounded["audio"](torch.randn(3, 40, 12), None, torch.randn(3, 12))
    image = grounded["image"](torch.randn(3, 36, 20), torch.rand(3, 36, 4))
    (audio @ image.t()).square().sum().backward()
    assert not [name for name, each in grounded.named_parameters() if each.grad is None or not each.grad.any()]
    assert in_paper_scope(f"grounded.{name}" for name, _ in grounded.named_parameters()) == []


def test_resdavenet_has_the_published_shape() -> None:
    head = AudioHead("resdavenet", 768, 768, 12, 0.1, True)
    frames, lengths = head.convolve(torch.randn(2, 160, 768), torch.tensor([160, 33]))
    assert frames.shape == (2, 10, 768)
    assert lengths.tolist() == [10, 3]
