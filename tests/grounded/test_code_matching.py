"""Code matching beside direct loops in double precision, and the codes of both modalities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq_parp.grounded.code_matching import code_matching, code_scores, keys, queries, usage
from fairseq_parp.grounded.codes import Codes, CodeSettings

SETTINGS = CodeSettings(codes=5, width=4, temperature=0.5, decay=0.99, warm_up=0, patience=300, fused=True)


def usage_by_loops(features: Tensor, lengths: list[int], codes: Tensor, temperature: float) -> list[list[float]]:
    found = []
    for rows, length in zip(features, lengths, strict=True):
        each = [0.0] * len(codes)
        for row in rows[:length]:
            near = [math.exp(-math.dist(row.tolist(), code.tolist()) / temperature) for code in codes]
            each = [total + n / sum(near) / length for total, n in zip(each, near, strict=True)]
        found.append(each)
    return found


def loss_by_loops(one: list[list[float]], other: list[list[float]], images: list[int], both: bool) -> float:
    def score(a: list[float], b: list[float]) -> float:
        logs = [[math.log(p + 1e-10) for p in each] for each in (a, b)]
        return sum(p * logs[1][v] + q * logs[0][v] for v, (p, q) in enumerate(zip(a, b, strict=True)))

    total, size = 0.0, len(images)
    for rows, columns in ((one, other), (other, one))[: 1 + both]:
        for i in range(size):
            others = [j for j in range(size) if j == i or images[j] != images[i]]
            scores = {j: math.exp(score(rows[i], columns[j])) for j in others}
            total -= math.log(scores[i] / sum(scores.values())) / size
    return total


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("images", [[0, 1, 2, 3], [0, 1, 0, 2], [7, 7, 7, 3]])
def test_value_and_gradient_are_those_of_direct_loops(images: list[int], temperature: float, both: bool) -> None:
    torch.manual_seed(1)
    codes = torch.randn(6, 3, dtype=torch.float64)
    speech, pictures = torch.randn(4, 5, 3, dtype=torch.float64), torch.randn(4, 7, 3, dtype=torch.float64)
    lengths, every = [5, 1, 3, 4], [7] * 4
    speech.requires_grad_()

    def value(features: Tensor) -> Any:
        real = torch.arange(5) < torch.tensor(lengths)[:, None]
        sides = [usage(torch.cdist(features, codes[None]), real, temperature)]
        sides.append(usage(torch.cdist(pictures, codes[None]), torch.ones(4, 7, dtype=torch.bool), temperature))
        return code_matching(*sides, torch.tensor(images), both)

    def expected(features: Tensor) -> float:
        sides = [usage_by_loops(x, n, codes, temperature) for x, n in ((features, lengths), (pictures, every))]
        return loss_by_loops(*sides, images, both)

    loss = value(speech)
    assert float(loss.detach()) == pytest.approx(expected(speech.detach()), rel=1e-9)
    loss.backward()
    assert speech.grad is not None
    assert not speech.grad[1, 1:].any()  # padding
    step = 1e-6
    for place in [(0, 0, 0), (0, 4, 2), (1, 0, 1), (2, 2, 0), (3, 3, 1)]:
        moved = speech.detach().clone()
        moved[place] += step
        slope = (expected(moved) - expected(speech.detach())) / step
        assert float(speech.grad[place]) == pytest.approx(slope, abs=1e-5)


def test_two_certain_codes_have_the_score_that_a_reader_can_compute() -> None:
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    far = 2 * math.log(1e-10)
    torch.testing.assert_close(code_scores(certain, certain), torch.tensor([[0, far], [far, 0]], dtype=torch.float64))
    assert float(code_matching(certain, certain, torch.tensor([0, 1]))) == pytest.approx(0, abs=1e-9)
    assert float(code_matching(certain, certain.flip(0), torch.tensor([0, 1]))) == pytest.approx(-far)
    half = torch.full((2, 2), 0.5, dtype=torch.float64)
    assert float(code_matching(half, half, torch.tensor([0, 1]))) == pytest.approx(math.log(2))
    assert torch.equal(code_scores(half, certain), queries(half) @ keys(certain).t())


def test_items_of_one_picture_leave_no_loss_and_no_gradient() -> None:
    one = torch.rand(4, 3).softmax(1).requires_grad_()
    loss = code_matching(one, torch.rand(4, 3).softmax(1), torch.zeros(4, dtype=torch.long), both_ways=True)
    loss.backward()
    assert float(loss.detach()) == 0
    assert one.grad is not None
    assert not one.grad.any()


def seeded() -> Codes:
    torch.manual_seed(3)
    codes = Codes(8, SETTINGS, ("audio", "image")).train()
    codes.book.observing = True
    for modality in ("audio", "image"):
        codes(modality, torch.randn(4, 6, 8))
    codes.book.update(1, 7)
    return codes


def test_padding_changes_neither_usage_nor_fused_vectors_nor_what_is_observed() -> None:
    codes = seeded()
    fine, lengths = torch.randn(3, 6, 8), torch.tensor([6, 2, 4])
    dirty = fine.clone()
    dirty[1, 2:] = dirty[2, 4:] = 1e3
    found = []
    for x in (fine, dirty):
        coded = codes("audio", x, lengths)
        fused = codes.fused("audio", torch.zeros(3, 8), coded)
        seen = torch.cat(codes.book._seen["audio"])
        codes.book.forget()
        found.append((coded.usage, fused, seen))
    for clean, same in zip(*found, strict=True):
        torch.testing.assert_close(clean, same)
    assert len(found[0][2]) == 12
    torch.testing.assert_close(found[0][0].sum(1), torch.ones(3))


def test_the_mean_of_each_modality_is_taken_off() -> None:
    codes = seeded()
    for modality, shift in (("audio", 0.0), ("image", 3.0)):
        features = codes(modality, torch.randn(9, 6, 8) + shift * torch.randn(8)).features.flatten(0, 1)
        torch.testing.assert_close(features.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(features.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


def test_fusion_gives_every_part_a_gradient_once_the_codes_are_seeded() -> None:
    for codes, trains in ((Codes(8, SETTINGS, ("audio", "image")), False), (seeded(), True)):
        fused = [codes.fused(name, torch.randn(3, 8), codes(name, torch.randn(3, 6, 8))) for name in ("audio", "image")]
        (fused[0] @ fused[1].t()).square().sum().backward()
        moved = {name: bool(each.grad.any()) for name, each in codes.named_parameters() if each.grad is not None}
        assert len(moved) == len(list(codes.parameters()))
        assert set(moved.values()) == {trains}


@pytest.mark.parametrize("narrow", ["half", "bfloat16"])
def test_in_half_precision_codes_and_norms_stay_in_float32(narrow: str) -> None:
    codes = getattr(seeded(), narrow)()
    dtype = getattr(torch, narrow)
    coded = codes("audio", torch.randn(3, 6, 8).to(dtype))
    assert coded.features.dtype == coded.usage.dtype == torch.float32
    assert codes.fused("audio", torch.randn(3, 8).to(dtype), coded).dtype == dtype
    assert {each.dtype for each in codes.buffers() if each.is_floating_point()} == {torch.float32}
    assert {each.dtype for each in codes.parameters()} == {dtype}
