"""Chance and intervals of recall beside counted and simulated ones, and rankings of embeddings that are known."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from fairseq_parp.retrieval.embedding import Embedded
from fairseq_parp.retrieval.results import as_table, measure, rankings


def embedded(captions: torch.Tensor, images: torch.Tensor, owners: list[int]) -> Embedded:
    paths = [f"{number}.wav" for number in range(len(captions))]
    ids, lengths = [f"{number}.png" for number in range(len(images))], [1.0] * len(captions)
    return Embedded(captions, images, torch.tensor(owners), paths, None, ids, lengths)


def test_chance_is_the_mean_over_every_order_of_the_gallery() -> None:
    owners = [0, 0, 0, 1, 2, 2]
    _, measured = measure(embedded(torch.randn(6, 3), torch.randn(3, 3), owners))
    orders = list(itertools.permutations(owners))
    for each in measured:
        if each.way == "i2s":
            hits = [picture in order[: each.k] for order in orders for picture in range(3)]
            assert each.chance == pytest.approx(100 * np.mean(hits))
        else:
            assert each.chance == pytest.approx(100 * min(each.k, 3) / 3)


def test_an_interval_resamples_pictures_with_all_their_captions() -> None:
    images, owners = torch.eye(20), torch.arange(20).repeat_interleave(5)
    captions = images[owners].clone()
    captions[50:] = -captions[50:]  # all captions of half of the pictures are wrong
    _, measured = measure(embedded(captions, images, owners.tolist()))
    draws = np.random.default_rng(5).binomial(20, 0.5, 100_000) / 20 * 100
    for each in measured:
        assert each.value == 50
        assert (each.low, each.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=5.1)
        assert each.high - each.low > 30  # 100 independent captions would give 20


def test_a_ranking_lists_targets_ranks_and_what_came_first() -> None:
    images = torch.eye(4)
    captions = torch.stack([images[0], images[2] + 0.5 * images[1], images[1] * 2, images[3]])
    given = embedded(captions, images, [0, 1, 1, 3])
    given = given._replace(images=images[[0, 1, 3]], ids=["a", "b", "d"], owners=torch.tensor([0, 1, 1, 2]))
    found, _ = measure(given)
    listed = list(rankings(given, found))
    assert [each.rank for each in listed] == found.of_images.tolist() + found.of_captions.tolist()
    assert [(each.query, each.target, each.first[0]) for each in listed] == [
        ("0.wav", "a", "a"), ("1.wav", "b", "b"), ("2.wav", "b", "b"), ("3.wav", "d", "d"),
        ("a", "0.wav", "0.wav"), ("b", "1.wav,2.wav", "2.wav"), ("d", "3.wav", "3.wav"),
    ]  # fmt: skip
    head, *lines = as_table(iter(listed)).splitlines()
    assert head.split("\t") == ["way", "query", "target", "rank", "first"]
    assert [json.loads(line.split("\t")[-1]) for line in lines] == [list(each.first) for each in listed]
