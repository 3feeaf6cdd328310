from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.methods import build_method


@pytest.mark.parametrize(
    ("sparsity", "size", "k"),
    [
        (0.0, 10, 0),
        (0.5, 85_017_600, 42_508_800),
        (0.1, 5, 1),  # 0.5 rounds up
        (0.3, 5, 2),  # 1.5 rounds up; binary floating point says 1.4999...
        (0.7, 5, 4),  # 3.5 rounds up
        (0.29, 100, 29),  # binary: 28.999999999999996
        (0.999999, 1, 1),
        (0.5, 0, 0),
    ],
)
def test_zero_count(sparsity: float, size: int, k: int) -> None:
    assert zero_count(sparsity, size) == k


@given(st.integers(0, 999), st.integers(0, 10**9))
def test_zero_count_in_exact_decimals(thousandths: int, size: int) -> None:
    assert zero_count(thousandths / 1000, size) == (2 * thousandths * size + 1000) // 2000


def reprunes(method: str) -> list[int]:
    """The updates of 17 after which a session re-prunes."""
    weights = {"layers.0.fc1.weight": PrunedParameter(torch.randn(4, 4))}
    session = PruningSession(weights, read_config(method=method, interval=7), 17)
    session.before_forward(0)
    return [update for update in range(1, 18) if session.after_step(update)]


def test_parp_reprunes_at_multiples_and_at_the_end() -> None:
    method = build_method(read_config(method="parp", interval=7), 17)
    assert reprunes("parp") == [7, 14, 17]
    assert method.schedule.at(0) == method.schedule.at(7) == Fraction(1, 2)


def test_dense_never_prunes() -> None:
    method = build_method(read_config(method="dense"), 17)
    assert reprunes("dense") == []
    assert method.schedule.at(17) == 0


def test_parp_p_rises_linearly_and_ends_exactly() -> None:
    method = build_method(read_config(method="parp_p", sparsity=0.9, start_sparsity=0.6, interval=10), 30)
    assert [method.schedule.at(u) for u in (0, 10, 20, 30)] == [Fraction(n, 10) for n in (6, 7, 8, 9)]
    default = build_method(read_config(method="parp_p", sparsity=0.1), 30)
    assert default.schedule.at(0) == 0


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"method": "prap"}, ("task.pruning.method='prap': must be one of dense, fixed, gmp, mpi, parp, parp_p, rigl, "
         "rp, s3_router, set, ste")),
        ({"sparsity": 1.0}, "task.pruning.sparsity=1.0: must be a number in [0, 1)"),
        ({"sparsity": -0.1}, "task.pruning.sparsity=-0.1: must be a number in [0, 1)"),
        ({"sparsity": float("nan")}, "task.pruning.sparsity=nan: must be a number in [0, 1)"),
        ({"sparsity": "half"}, "task.pruning.sparsity='half': must be a number in [0, 1)"),
        ({"sparsity": True}, "task.pruning.sparsity=True: must be a number in [0, 1)"),
        ({"interval": 0}, "task.pruning.interval=0: must be a whole number of updates >= 1, or null for never"),
        ({"interval": 2.5}, "task.pruning.interval=2.5: must be a whole number of updates >= 1, or null for never"),
        (
            {"allocation": "row"},
            ("task.pruning.allocation='row': must be one of erk, global, layer, tensor, or a map of expressions to "
            "sparsities"),
        ),
        ({"scope": []}, "task.pruning.scope=(): must be 'paper', 'ffn', or a list of names and regular expressions"),
        ({"scope": 3}, "task.pruning.scope=3: must be 'paper', 'ffn', or a list of names and regular expressions"),
        ({"start_sparsity": 0.1}, ("task.pruning.start_sparsity=0.1: is for methods parp_p, gmp, not parp; leave it "
         "null")),
        ({"method": "parp_p", "start_sparsity": 0.6}, ("task.pruning.start_sparsity=0.6: must not exceed "
         "task.pruning.sparsity=0.5")),
        ({"mask": 5}, "task.pruning.mask=5: must be the path of a mask file, or null"),
        ({"sparsty": 0.5}, ("task.pruning.sparsty=0.5: no such key; did you mean sparsity? Known keys: method, "
         "sparsity, interval, scope, criterion, structure, allocation, mask")),
    ],
)  # fmt: skip
def test_bad_values_name_key_value_and_what_is_allowed(keys: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(keys)
    assert str(caught.value) == line


def test_not_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"task\.pruning='parp': must be a mapping"):
        read_config("parp")  # type: ignore[arg-type]


def test_parp_p_needs_the_end_of_the_run_and_an_interval() -> None:
    with pytest.raises(ConfigError, match=r"optimization\.max_update=None: parp_p needs it"):
        build_method(read_config(method="parp_p"), None)
    with pytest.raises(ConfigError, match=r"task\.pruning\.interval=None"):
        build_method(read_config(method="parp_p", interval=None), 10)


def test_no_keys_are_all_defaults() -> None:
    assert read_config(None) == read_config({}) == read_config()
