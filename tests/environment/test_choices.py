from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fairseq_parp.environment import choices
from fairseq_parp.errors import MissingToolError

ROOT = Path(__file__).resolve().parents[2]
CPU, CUDA = "torch==2.13.0+cpu", "torch==2.13.0"


@pytest.mark.parametrize(
    ("gpu", "system", "asked", "first_words"),
    [
        (False, "Linux", "", [CPU, CPU]),
        (True, "Linux", "", [CUDA]),
        (False, "Darwin", "", [CUDA]),
        (False, "Linux", "torch==2.13.0", [CUDA]),
        (True, "Linux", CPU, [CPU]),
    ],
)
def test_without_a_gpu_linux_never_gets_the_cuda_build_unasked(gpu, system, asked, first_words):
    attempts = choices.torch_choices("2.13.0", gpu=gpu, system=system, asked=asked)
    assert [attempt[0] for attempt in attempts] == first_words


def test_pytorchs_own_index_is_tried_after_the_configured_ones_and_gives_up_soon():
    first, second = choices.torch_choices("2.13.0", gpu=False, system="Linux")
    assert first == [CPU]
    assert choices.CPU_INDEX in second
    assert second[second.index("--retries") + 1] == "1"


def test_a_spelt_out_torch_may_carry_options():
    asked = "torch==2.13.0+cpu --index-url https://example.org/simple"
    assert choices.torch_choices("2.13.0", gpu=False, system="Linux", asked=asked) == [asked.split()]


def pins(python):
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    return [r.name for r in requirements if not r.marker or r.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("python", [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_constraints_pin_the_distribution_that_is_chosen_and_no_other(python):
    here = [name for name in pins(".".join(map(str, python))) if name.startswith("fairseq")]
    assert here == [choices.fairseq_distribution(python)]


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_nothing_is_pinned_twice(python):
    assert len(pins(python)) == len(set(pins(python)))


def test_a_missing_pin_is_named():
    with pytest.raises(MissingToolError, match=r"constraints\.txt does not pin torch"):
        choices.pinned("torch", "torchaudio==2.0\n")
