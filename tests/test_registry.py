"""Registries refuse a second entry of one name, and an entry that lacks what is read of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairseq_parp.architectures import ARCHITECTURES
from fairseq_parp.errors import ConfigError
from fairseq_parp.registry import Registry
from fairseq_parp.sparsity.methods import METHODS, Method
from fairseq_parp.sparsity.methods.dense import Dense


def test_an_entry_may_be_registered_again_but_not_another_under_its_name() -> None:
    assert METHODS.register("dense", Dense) is Dense
    with pytest.raises(ValueError, match=r"task\.pruning\.method: the name 'dense' is registered already"):
        METHODS.register("dense", type("Other", (Dense,), {}))
    hubert = ARCHITECTURES["hubert"]
    with pytest.raises(ValueError, match=r"architecture: the name 'hubert' is registered already"):
        ARCHITECTURES.register("hubert", replace(hubert, models=("other",)))
    assert METHODS["dense"] is Dense
    assert ARCHITECTURES["hubert"] is hubert


@pytest.mark.parametrize("members", [{}, {"facts": "a label"}], ids=["missing", "of another type"])
def test_a_method_without_facts_is_refused_when_it_is_registered(members: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"NoFacts\.facts must be Facts\(label, \.\.\.\)"):
        METHODS.register("no_facts", type("NoFacts", (Method,), members))
    assert "no_facts" not in METHODS


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    table: Registry[int] = Registry("task.some_key")
    table.register("one", 1)
    table.register("another", 2)
    assert dict(table) == {"one": 1, "another": 2}
    with pytest.raises(ConfigError, match=r"task\.some_key.*must be one of another, one"):
        table["third"]
