"""The core knows no fairseq."""

from __future__ import annotations

import subprocess
import sys


def test_the_core_works_where_fairseq_cannot_be_imported() -> None:
    program = """
import sys
sys.modules["fairseq"] = None
from torch import nn
from fairseq_parp.sparsity import PruningSession, read_config
layers = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"fc1": nn.Linear(4, 4)})])})
pruner = PruningSession.of_model(layers, read_config(sparsity=0.5), 10)
print(pruner.before_forward(0).zeros, not any(name.split(".")[0] in ("fairseq", "fairseq_cli") for name in sys.modules
      if sys.modules[name]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "True"]
