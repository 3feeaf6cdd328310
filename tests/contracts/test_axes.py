"""Allocations and criteria through fairseq's own main: what a YAML says is what every file has, also after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from comparing import differences
from in_process import speech, state_of, train

from fairseq_parp.errors import OneLineExit
from fairseq_parp.sparsity.counting import zero_count

KEYS: dict[str, dict[str, Any]] = {
    "a map": {"allocation": {r".*fc[12]\.weight": 0.7, r".*self_attn.*": 0.2}},
    "erk": {"allocation": "erk"},
    "saliency": {"criterion": "saliency"},
    "random": {"criterion": "random", "allocation": "layer"},
}


@pytest.mark.parametrize("key", ["layerdrop", "freeze_finetune_updates"])
def test_saliency_is_refused_where_layers_would_have_no_gradients(key: str, tmp_path: Path) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 9, "valid": 3})
    recipe = speech(data, tiny.make_pretrained(tmp_path / "pretrained.pt"))
    recipe["model"] |= {"layerdrop": 0.0, key: 1}
    with pytest.raises(OneLineExit, match=rf"model\.{key}=1.*: must be 0 with task\.pruning\.criterion=saliency"):
        train(recipe, tmp_path / "run", method="gmp", sparsity=0.5, interval=2, criterion="saliency")


@pytest.mark.parametrize("case", KEYS)
def test_the_zeros_of_every_file_and_a_resume(case: str, tmp_path: Path) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 9, "valid": 3})
    recipe = speech(data, tiny.make_pretrained(tmp_path / "pretrained.pt"))
    recipe["model"]["layerdrop"] *= case != "saliency"  # the saliency of a layer that is left out is not known
    keys = {"method": "parp", "sparsity": 0.5, "interval": 2, **KEYS[case]}
    train(recipe, tmp_path / "straight", **keys)
    train(recipe, tmp_path / "broken", stop_after=5, **keys)
    train(recipe, tmp_path / "broken", **keys)
    ends = [state_of(tmp_path / folder / "checkpoint_last.pt") for folder in ("straight", "broken")]
    assert differences(*ends) == []
    for file in (tmp_path / "straight").glob("*.pt"):
        model, entry, _ = state_of(file)
        masked = {name: model[name] for name in entry["pruning"]["mask"]}
        zeros = {name: int((each == 0).sum()) for name, each in masked.items()}
        size = sum(each.numel() for each in masked.values())
        assert entry["run"]["reached"] == sum(zeros.values()) / size, "what is reported is what is counted"
        if case == "erk":  # biases stay dense, but for values that are zero by themselves
            weights = sum(count for name, count in zeros.items() if name.endswith("weight"))
            assert weights == zero_count(0.5, size), file.name
            continue
        if case != "a map":
            assert sum(zeros.values()) == zero_count(0.5, size), file.name
            continue
        groups = {"fc": 0.7, "self_attn": 0.2, "": 0.5}
        for part, sparsity in groups.items():
            names = [
                name for name in masked
                if ("self_attn" if "self_attn" in name else "fc" if name.endswith("weight") else "") == part
            ]  # fmt: skip
            expected = zero_count(sparsity, sum(masked[name].numel() for name in names))
            assert sum(zeros[name] for name in names) == expected, (file.name, part)
