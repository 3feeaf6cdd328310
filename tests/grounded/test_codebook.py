"""The codebook beside plain loops and beside vector-quantize-pytorch, over ranks, and over a checkpoint."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from fairseq_parp.errors import ConfigError
from fairseq_parp.grounded.codebook import Codebook
from fairseq_parp.sparsity.scope import find_parameters

CODES, WIDTH, SEED = 6, 4, 3


def features(seed: int, rows: int = 20) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, WIDTH, generator=chance) + shift for name, shift in (("audio", 0), ("image", 1))}


def feed(book: Codebook, seen: dict[str, Tensor], updates: int) -> Codebook:
    """Make one update of training."""
    book.train().observing = True
    for modality, rows in seen.items():
        book.observe(modality, rows)
    book.update(updates, SEED)
    return book


def seeded(**keys: float) -> Codebook:
    return feed(Codebook(CODES, WIDTH, **keys), features(0), 1)  # type: ignore[arg-type]


def by_loops(book: Codebook, seen: dict[str, Tensor]) -> Tensor:
    """Return the codes behind an update: each mean written out in double precision."""
    rows = [row.double() for each in seen.values() for row in each]
    codes = book.embedding.double()
    counts, sums = [float(n) * book.decay for n in book.counts], [row.double() * book.decay for row in book.sums]
    for row in rows:
        code = min(range(CODES), key=lambda v: float((row - codes[v]).norm()))
        counts[code] += 1 - book.decay
        sums[code] = sums[code] + (1 - book.decay) * row
    total = sum(counts)
    smoothed = [(n + 1e-5) / (total + CODES * 1e-5) * total for n in counts]
    return torch.stack([each / n for each, n in zip(sums, smoothed, strict=True)])


def test_updates_are_those_of_plain_loops() -> None:
    book = seeded()
    for updates in range(2, 6):
        expected = by_loops(book, features(updates))
        feed(book, features(updates), updates)
        torch.testing.assert_close(book.embedding.double(), expected, rtol=1e-5, atol=1e-6)


def test_updates_and_gradients_are_those_of_vector_quantize_pytorch() -> None:
    from vector_quantize_pytorch import VectorQuantize

    book = seeded(decay=0.9)
    theirs = VectorQuantize(
        WIDTH, codebook_size=CODES, decay=0.9, eps=1e-5, commitment_weight=0.0, rotation_trick=False
    )
    theirs.codebook = book.embedding.clone()
    theirs._codebook.embed_avg.data.copy_(book.sums[None])
    theirs._codebook.cluster_size.data.copy_(book.counts[None])
    for updates in range(2, 6):
        seen = torch.cat(list(features(updates).values()))
        mine, other = seen.clone().requires_grad_(), seen.clone().requires_grad_()
        codes = book.quantise(mine)
        found, chosen, _ = theirs(other[None])
        torch.testing.assert_close(codes, found[0])
        assert book.nearest(seen).tolist() == chosen[0].tolist()
        for each, rows in ((codes, mine), (found, other)):
            each.square().sum().backward()
            assert rows.grad is not None
        torch.testing.assert_close(mine.grad, other.grad)
        feed(book, features(updates), updates)
        torch.testing.assert_close(book.embedding, theirs.codebook, rtol=1e-5, atol=1e-6)


def test_seeds_are_features_of_both_modalities_after_the_warm_up() -> None:
    book = Codebook(CODES, WIDTH, warm_up=2)
    for updates in (1, 2):
        assert not feed(book, features(updates), updates).seeded
        assert not book.embedding.any()
        assert not book.quantise(torch.randn(3, WIDTH)).any()
    assert feed(book, features(3), 3).seeded
    for rows in features(3).values():
        assert sum(bool((code == rows).all(1).any()) for code in book.embedding) == CODES // 2


def test_fewer_different_features_than_codes_are_named() -> None:
    same = {"audio": torch.ones(9, WIDTH), "image": torch.eye(WIDTH)}
    with pytest.raises(ConfigError, match=r"model\.codes=6: update 1 has 5 different features"):
        feed(Codebook(CODES, WIDTH), same, 1)


def test_forward_and_validation_change_no_code_and_a_dropped_step_leaves_nothing() -> None:
    book = seeded()
    before = copy.deepcopy(book.state_dict())
    book.eval()
    book.observe("audio", features(5)["audio"])
    book.update(2, SEED)
    book.train()
    book.observe("audio", features(5)["audio"])
    x = features(5)["image"].requires_grad_()
    loss = book.distances(x).sum()
    book.forget()
    book.update(2, SEED)
    loss.backward()
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_dead_codes_are_replaced_by_features_and_live_ones_stay() -> None:
    book = seeded(patience=3)
    book.embedding[4] = book.sums[4] = 1e3
    for updates in range(2, 4):
        feed(book, features(updates), updates)
        assert float(book.embedding[4].min()) > 500
    last, before = features(4), copy.deepcopy(book)
    feed(book, last, 4)
    assert bool((torch.cat(list(last.values())) == book.embedding[4]).all(1).any())
    assert (int(book.idle[4]), float(book.counts[4])) == (0, 1)
    live = [code for code in range(CODES) if code != 4]
    torch.testing.assert_close(book.embedding[live].double(), by_loops(before, last)[live], rtol=1e-5, atol=1e-6)


def test_a_resumed_codebook_is_the_uninterrupted_one_to_the_last_bit(tmp_path: Path) -> None:
    straight = seeded(patience=2)
    straight.embedding[1] = straight.sums[1] = -1e3
    feed(straight, features(2), 2)
    torch.save(straight.state_dict(), tmp_path / "book.pt")
    resumed = Codebook(CODES, WIDTH, patience=2)
    resumed.load_state_dict(torch.load(tmp_path / "book.pt"))
    for updates in range(3, 7):  # update 3 replaces a code
        for book in (straight, resumed):
            feed(book, features(updates), updates)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())
    assert float(straight.embedding.min()) > -100


def test_it_stays_in_float32_and_has_no_parameter() -> None:
    model = nn.Sequential(nn.Linear(3, 3), seeded())
    before = model[1].embedding.clone()
    for narrow in (model.half, model.bfloat16):
        narrow()
        assert model[1].embedding.dtype == torch.float32
        assert torch.equal(model[1].embedding, before)
    assert list(find_parameters(model, ".*")) == ["0.weight", "0.bias"]


def _rank(rank: int, folder: str) -> None:
    os.environ["USE_LIBUV"] = "0"
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    book = Codebook(CODES, WIDTH, patience=2)
    for updates in range(1, 5):
        seen = {name: rows[:15] if rank == 0 else rows[15:] for name, rows in features(updates).items()}
        feed(book, seen, updates)
    torch.save(book.state_dict(), Path(folder, f"{rank}.pt"))
    distributed.destroy_process_group()


def test_two_ranks_with_unequal_shares_equal_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), 2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = Codebook(CODES, WIDTH, patience=2)
    for updates in range(1, 5):
        feed(alone, features(updates), updates)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
