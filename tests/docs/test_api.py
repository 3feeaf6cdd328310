"""docs/api.md: the loop runs as written and prints the page's line; the objects show themselves in one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from fairseq_parp.parts.base import Base
from fairseq_parp.parts.part import Part
from fairseq_parp.sparsity import METHODS, PrunedParameter, PruningSession, read_config

ROOT = Path(__file__).parents[2]


def test_the_loop() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    printed = re.search(r"It prints `(.*?)`", page)
    assert code
    assert printed
    done = subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed[1]
    loop = code[1][code[1].index("config = ") : code[1].index("with session")].strip().splitlines()
    assert len(loop) <= 15


def test_objects_fit_a_line() -> None:
    model = nn.ModuleDict({f"fc{layer}": nn.Linear(64, 64) for layer in range(50)})
    config = read_config(method="parp", sparsity=0.5, interval=10, scope=[r"fc.*weight"])
    session = PruningSession.of_model(model, config, last_update=40)
    record = session.before_forward(0)
    mask = "MaskSet(102400 zeros of 204800 weights, 50 parameters)"
    assert repr(session.mask) == mask
    assert repr(session) == f"PruningSession(parp at 0.5, 204800 weights in 50 parameters, mask {mask})"
    assert repr(record).startswith("PruneRecord(update=0, size=204800, churn=0, milliseconds=")
    assert repr(session.parameters["fc0.weight"]) == "PrunedParameter((64, 64), torch.float32)"
    half = PrunedParameter(torch.zeros(2, dtype=torch.float16), torch.zeros(2))
    assert repr(half) == "PrunedParameter((2,), torch.float16, master torch.float32)"
    assert repr(METHODS).startswith("Registry(task.pruning.method: dense, parp, parp_p, ")
    part = Part({"language": "nl", "method": "mask+head"}, {"proj.weight": torch.zeros(9, 9)}, session.mask)
    assert repr(part) == f"Part('nl', mask+head, 1 tensors, mask {mask})"
    assert repr(Base(Path("base.pt"), "ab" * 32, {"model": dict(model.state_dict())})).endswith(
        f"sha256='{'ab' * 32}')"
    )
