"""ABX errors against a program that follows the definition triple by triple, path by path."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fairseq_parp.abx import Item, abx, distances, read_items, scores, write_items
from fairseq_parp.abx.distances import token_distances, warped
from fairseq_parp.abx.features import span
from fairseq_parp.abx.scores import groups_of
from fairseq_parp.errors import ItemError


def ways(rows: int, columns: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every way through a matrix from its first cell to its last."""
    if (rows, columns) == (1, 1):
        yield [(0, 0)]
        return
    for r, c in ((1, 1), (1, 0), (0, 1)):
        if rows > r and columns > c:
            yield from ([*way, (rows - 1, columns - 1)] for way in ways(rows - r, columns - c))


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 3), (4, 4), (5, 3)])
def test_the_cheapest_way_is_that_of_all_ways(shape: tuple[int, int]) -> None:
    costs = np.random.default_rng(sum(shape)).random(shape)
    totals = {sum(costs[cell] for cell in way): len(way) for way in ways(*shape)}
    assert warped(costs) == pytest.approx(min(totals) / totals[min(totals)])


def test_of_equal_ways_the_diagonal_is_taken() -> None:
    assert warped(np.zeros((3, 3))) == 0
    assert warped(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(2 / 2)  # not 2 / 3 by way of a corner


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(distances, "library", lambda: None)
    elif distances.library() is None:
        pytest.skip("not compiled here")
    return str(request.param)


def tokens_of(count: int, seed: int = 1) -> list[np.ndarray]:
    chance = np.random.default_rng(seed)
    return [chance.normal(size=(int(chance.integers(1, 6)), 5)).astype(np.float32) for _ in range(count)]


@pytest.mark.usefixtures("way")
def test_distances_are_angles_along_the_warping() -> None:
    tokens = tokens_of(7)
    found = token_distances(tokens, tokens[:5])
    assert found.shape == (7, 5)
    assert token_distances(tokens, tokens[:5], block=2) == pytest.approx(found, abs=1e-12)
    for one, other in itertools.product(range(7), range(5)):
        angles = [
            [math.acos(max(-1, min(1, float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))))) / math.pi for b in y]
            for x, y in [(tokens[one].astype(float), tokens[other].astype(float))]
            for a in x
        ]
        assert found[one, other] == pytest.approx(warped(np.array(angles)), abs=1e-7)


def test_memory_does_not_grow_with_the_speakers_of_a_context() -> None:
    if distances.library() is None:
        pytest.skip("not compiled here: minutes")
    chance = np.random.default_rng(0)
    items = [
        Item(f"f{speaker}", 0.0, 0.1, phone, "x", "y", f"s{speaker}") for speaker in range(60) for phone in "AB" * 10
    ]
    tokens = {number: chance.normal(size=(10, 4)).astype(np.float32) for number in range(len(items))}
    tracemalloc.start()
    found = abx(groups_of(items), tokens)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.pairs_across == 2
    assert peak < 30e6  # the angles between all frames would be 1,152 MB


def made_up(count: int, seed: int) -> list[Item]:
    chance = random.Random(seed)
    return [
        Item(f"f{n}", 0.0, 0.1, chance.choice("ABC"), chance.choice("xy"), "z", chance.choice(["s1", "s2", "s3"]))
        for n in range(count)
    ]


def by_definition(items: list[Item], near: np.ndarray, across: bool) -> float:
    """Average the errors over contexts, then speakers of X, then speakers, then pairs of phones."""
    found: dict[tuple[str, str], dict[str, dict[str, dict[tuple[str, str], list[float]]]]] = {}
    for x, a, b in itertools.product(range(len(items)), repeat=3):
        one, other, third = items[x], items[a], items[b]
        if not one.context == other.context == third.context or one.phone != other.phone or one.phone == third.phone:
            continue
        if other.speaker != third.speaker or (one.speaker == other.speaker) == across or x == a:
            continue
        error = (near[x, b] < near[x, a]) + 0.5 * (near[x, b] == near[x, a])
        by_x = found.setdefault((one.phone, third.phone), {}).setdefault(other.speaker, {}).setdefault(one.speaker, {})
        by_x.setdefault(one.context, []).append(float(error))
    mean = statistics.fmean
    pairs = []
    for speakers in found.values():
        pairs.append(mean(mean(mean(map(mean, x.values())) for x in by_x.values()) for by_x in speakers.values()))
    return 100 * mean(pairs)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_errors_are_those_of_the_definition(seed: int) -> None:
    items = made_up(40, seed)
    tokens = dict(enumerate(tokens_of(len(items), seed)))
    found = abx(groups_of(items), tokens)
    near = token_distances(list(tokens.values()), list(tokens.values()))
    assert found.within == pytest.approx(by_definition(items, near, across=False))
    assert found.across == pytest.approx(by_definition(items, near, across=True))
    assert found.pairs_within == found.pairs_across == 6


def test_perfect_and_useless_features() -> None:
    items = made_up(40, 4)
    of_phone = {"A": [1, 0, 0], "B": [0, 1, 0], "C": [0, 0, 1]}
    perfect = {n: np.array([of_phone[item.phone]] * 2, np.float32) for n, item in enumerate(items)}
    assert abx(groups_of(items), perfect).within == 0
    same = {n: np.ones((3, 2), np.float32) for n in range(len(items))}
    assert abx(groups_of(items), same).within == abx(groups_of(items), same).across == 50


def test_large_groups_are_sampled_alike_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MAX_TOKENS", 2)
    monkeypatch.setattr(scores, "MAX_SPEAKERS", 1)
    items = made_up(60, 5)
    groups = groups_of(items)
    assert max(len(each) for group in groups for phones in group.values() for each in phones.values()) == 2
    tokens = dict(enumerate(tokens_of(60)))
    assert groups == groups_of(items)
    assert abx(groups, tokens) == abx(groups_of(items), tokens)


def test_one_speaker_has_no_error_across() -> None:
    items = [Item(f"f{n}", 0, 1, "AB"[n % 2], "x", "x", "s1") for n in range(6)]
    found = abx(groups_of(items), dict(enumerate(tokens_of(6))))
    assert math.isnan(found.across)
    assert 0 <= found.within <= 100


@pytest.mark.parametrize(
    ("onset", "offset", "frames", "expected"),
    [
        (0.0, 0.02, 9, (0, 1)), (0.01, 0.03, 9, (0, 2)), (0.011, 0.029, 9, (1, 1)), (0.1, 0.2, 7, (5, 7)),
        (0.0, 1, 9, (0, 9)),
    ],
)  # fmt: skip
def test_a_frame_belongs_to_the_token_that_its_middle_lies_in(
    onset: float, offset: float, frames: int, expected: tuple[int, int]
) -> None:
    found = span(onset, offset, 50, frames)
    assert (found.start, found.stop) == expected


def test_items_are_read_back(tmp_path: Path) -> None:
    items = [Item("a", 0.25, 0.5, "AH", "SIL", "T", "s1"), Item("b", 1.0, 1.0625, "é", "T", "SIL", "s2")]
    write_items(tmp_path / "x.item", items)
    assert read_items(tmp_path / "x.item") == items


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' is not the head of an item file: #file onset offset"),
        ("a 0 1 b c d e\n", "line 1: 'a 0 1 b c d e' is not the head"),
        ("#file onset offset #phone prev-phone next-phone speaker\n", "has no token"),
        ("#file\na 0 1 b c d\n", "line 2: 6 cells; an item has #file onset"),
        ("#file\n\na 1 1 b c d e\n", "line 3: onset 1, offset 1: seconds must ascend"),
        ("#file\na x 1 b c d e\n", "line 2: onset x, offset 1: seconds must ascend"),
        ("#file\na -1 1 b c d e\n", "line 2: onset -1, offset 1: seconds must ascend"),
    ],
)
def test_what_is_no_item_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.item").write_text(text)
    with pytest.raises(ItemError, match=r"x\.item") as raised:
        read_items(tmp_path / "x.item")
    assert message in str(raised.value)
