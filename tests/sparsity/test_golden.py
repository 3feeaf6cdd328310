"""Thirty updates of every method give the bits that version 0.1 gave: weights, masters, masks and stashed values.

The digests were made by the code before its redesign. Weights and gradients are made of integers and all arithmetic is
element by element, so that the digests do not depend on the machine.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from fairseq_parp.sparsity import PrunedParameter, PruningSession, Sources, read_config
from fairseq_parp.sparsity.magnitude import random_mask

SHAPES = {
    f"layers.{layer}.{kind}": shape
    for layer in range(3)
    for kind, shape in {"fc1.weight": (24, 16), "fc1.bias": (24,), "fc2.weight": (16, 24), "fc2.bias": (16,)}.items()
}

GOLDEN = {
    ("dense", "global", False): [1764342070, 3329123062, 3757170718],
    ("parp", "global", False): [2230634523, 156722248, 3223034612],
    ("parp_p", "global", False): [334649542, 3914985293, 2002658916],
    ("mpi", "global", False): [3673736029, 568843406, 3457551675],
    ("rp", "global", False): [3917912280, 198970659, 2516257308],
    ("fixed", "global", False): [4252602553, 1679809320, 1329610422],
    ("dense", "tensor", False): [1764342070, 3329123062, 3757170718],
    ("parp", "tensor", False): [1637822614, 2143354593, 132365243],
    ("parp_p", "tensor", False): [3419995982, 2476101399, 2395548855],
    ("mpi", "tensor", False): [2008508831, 635353602, 3831206393],
    ("rp", "tensor", False): [1461656999, 3227187342, 2758915332],
    ("fixed", "tensor", False): [665954883, 3963145015, 2866634347],
    ("dense", "global", True): [991156759, 3032226419, 2914021012],
    ("parp", "global", True): [4229716055, 4052299497, 3430971323],
    ("parp_p", "global", True): [455611811, 3013394169, 3944384518],
    ("mpi", "global", True): [1456893216, 923107942, 1092718739],
    ("rp", "global", True): [3697018049, 3292068143, 53662427],
    ("fixed", "global", True): [501876237, 3628375927, 3957844228],
    ("dense", "tensor", True): [991156759, 3032226419, 2914021012],
    ("parp", "tensor", True): [1047091645, 2392237205, 2235657739],
    ("parp_p", "tensor", True): [2731071155, 1639727913, 332618571],
    ("mpi", "tensor", True): [765105042, 1411514374, 2799676538],
    ("rp", "tensor", True): [854514972, 2277073009, 2650974741],
    ("fixed", "tensor", True): [3929836683, 1672942612, 3944054840],
}  # fmt: skip
"""Digests after updates 10, 18 and 30, by method, allocation, and whether bf16 weights have fp32 masters."""


def numbers(seed: int) -> dict[str, Tensor]:
    """Return numbers in [-0.5, 0.5) that look random and are exact everywhere."""
    start, found = 0, {}
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        places = np.arange(start, start + size, dtype=np.uint64) + np.uint64(1_000_003 * seed)
        mixed = (places * np.uint64(2654435761) % np.uint64(1 << 32)) * np.uint64(40503) % np.uint64(1 << 32)
        found[name] = torch.from_numpy((mixed / 2.0**32 - 0.5).astype(np.float32).reshape(shape))
        start += size
    return found


def digest(tensors: list[Tensor]) -> int:
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data, checksum)
    return checksum


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("method", "allocation", "half"), GOLDEN)
def test_thirty_updates(method: str, allocation: str, half: bool) -> None:
    start = numbers(1)
    masters = {name: weight.clone() for name, weight in start.items()} if half else {}
    weights = {name: torch.nn.Parameter(weight.bfloat16() if half else weight) for name, weight in start.items()}
    config = read_config(method=method, interval=4, allocation=allocation, mask="m" if method == "fixed" else None)
    sources = Sources(lambda _path: random_mask(SHAPES, 0.5, 3, allocation), lambda _parameters: numbers(5))
    parameters = {name: PrunedParameter(weight) for name, weight in weights.items()}
    session = PruningSession(parameters, config, 30, sources)
    session.attach(masters)
    digests = []
    with torch.no_grad():
        for update in range(30):
            session.before_forward(update)
            for name, gradient in numbers(100 + update).items():
                weights[name].grad = gradient.to(weights[name].dtype)
            session.after_backward()
            session.before_step(update)
            for name, weight in weights.items():
                assert weight.grad is not None
                stepped = masters[name] if half else weight
                stepped.sub_(0.5 * weight.grad.float())
                if half:
                    weight.copy_(stepped)
            session.after_step(update + 1)
            if update + 1 in (10, 18, 30):
                with session.sparse_view(update + 1):
                    state = session.state_dict()
                    kept = [*weights.values(), *masters.values(), *state["mask"].values(), *state["stashed"].values()]
                    digests.append(digest(kept))
    assert digests == GOLDEN[method, allocation, half]
