"""The weight alpha: a number or pairs, its value at every update, and what is refused."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from fairseq_parp.errors import ConfigError
from fairseq_parp.grounded.weighting import read_alpha


def test_a_number_holds_at_every_update() -> None:
    for value in (0, 0.25, 1):
        alpha = read_alpha(value)
        assert [alpha.at(update) for update in (0, 1, 10**6)] == [value] * 3
        assert (alpha.trains_pictures, alpha.trains_speech) == (value > 0, value < 1)
        assert alpha.uses_all_parts


def test_pairs_hold_from_their_update_on() -> None:
    alpha = read_alpha(OmegaConf.create([[0, 0], [3, 0.5], [4, 1]]))
    assert [alpha.at(update) for update in range(6)] == [0, 0, 0, 0.5, 1, 1]
    assert alpha.trains_pictures
    assert alpha.trains_speech
    assert not alpha.uses_all_parts
    assert read_alpha([[0, 0.2], [3, 0.5]]).uses_all_parts


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "must be a number"), ("0:0,5:1", "must be a number"), (True, "must be a number"),
        ([], "must be a number"),
        (1.5, "1.5 must be between 0"), (float("nan"), "nan must be between 0"),
        ([[0, -0.1]], "-0.1 must be between 0"),
        ([0, 0.5], "0 must be a pair"), ([[0, 0, 1]], "[0, 0, 1] must be a pair"), ([[0, "a"]], "must be a pair"),
        ([[1, 0.5]], "must start at update 0, not 1"), ([[0.0, 0.5]], "0.0 must be a whole number"),
        ([[0, 0], [5, 1], [5, 0.5]], "goes back in time: update 5 follows 5"),
        ([[0, 0], [5, 1], [3, 0.5]], "goes back in time: update 3 follows 5"),
    ],
)  # fmt: skip
def test_another_value_is_refused_by_its_key(value: object, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"criterion\.alpha") as stopped:
        read_alpha(OmegaConf.create(value) if isinstance(value, list) else value)
    assert reason in stopped.value.allowed
    assert "ListConfig" not in str(stopped.value)


def test_a_step_beyond_the_runs_end_is_refused() -> None:
    alpha = read_alpha([[0, 0], [5, 1]])
    for updates in (0, 6):  # 0: the run ends by epochs
        alpha.require_reached(updates)
    with pytest.raises(ConfigError, match=r"changes at update 5, and the run ends with optimization\.max_update=5"):
        alpha.require_reached(5)
