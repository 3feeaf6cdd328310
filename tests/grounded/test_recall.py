"""Recall beside brute force, with ties, with a collapsed model, and with numbers that are none."""

from __future__ import annotations

import random

import pytest
import torch

from fairseq_parp.grounded import recall
from fairseq_parp.grounded.recall import ranks, recalls


def by_force(captions: torch.Tensor, images: torch.Tensor, owners: list[int]) -> tuple[list[int], list[int]]:
    """Sort by score, and among equals put what is wrong first."""
    scores = captions @ images.t()
    of_images, of_captions = [], []
    for caption, owner in enumerate(owners):
        order = sorted(range(len(images)), key=lambda i: (-float(scores[caption, i]), i == owner))
        of_images.append(order.index(owner) + 1)
    for image in range(len(images)):
        order = sorted(range(len(captions)), key=lambda c: (-float(scores[c, image]), owners[c] == image))
        of_captions.append(min(order.index(c) for c in range(len(captions)) if owners[c] == image) + 1)
    return of_images, of_captions


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_brute_force_with_many_ties(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "BLOCK", 7)
    chance = random.Random(seed)
    torch.manual_seed(seed)
    owners = list(range(9)) + [chance.randrange(9) for _ in range(22)]
    chance.shuffle(owners)
    captions, images = torch.randint(-2, 3, (31, 3)).float(), torch.randint(-2, 3, (9, 3)).float()
    found = ranks(captions, images, torch.tensor(owners))
    assert (found.of_images.tolist(), found.of_captions.tolist()) == by_force(captions, images, owners)


def test_a_collapsed_model_and_one_of_nan_find_nothing() -> None:
    owners = torch.arange(40).repeat_interleave(2)
    for value in (0.1234567, float("nan")):
        found = recalls(ranks(torch.full((80, 333), value), torch.full((40, 333), value), owners))
        assert set(found.values()) == {0}


def test_a_perfect_model_finds_everything_and_a_half_right_one_half() -> None:
    images, owners = torch.eye(20), torch.arange(20).repeat_interleave(5)
    assert set(recalls(ranks(images[owners], images, owners)).values()) == {100}
    wrong = images[owners].clone()
    wrong[50:] = -wrong[50:]
    found = recalls(ranks(wrong, images, owners))
    assert (found["s2i_r1"], found["i2s_r1"], found["recall_1"]) == (50, 50, 50)
