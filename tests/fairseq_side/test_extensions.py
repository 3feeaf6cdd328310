"""What docs/extending.md shows, run as written: a package of its own adds a criterion, an allocation and a method."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from fairseq_parp import checkpoints
from fairseq_parp.sparsity.counting import zero_count

PAGE = tiny.ROOT / "docs" / "extending.md"


def install(folder: Path) -> Path:
    """Write the page's files of ``my_pruning`` as an installed package would have them, its entry point included."""
    for name, code in re.findall(r"```python\n# (my_\S+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    modules = sorted(file.stem for file in (folder / "my_pruning").glob("*.py"))
    assert modules == ["allocation", "criterion", "method"]
    imports = "".join(f"from my_pruning import {module}\n" for module in modules)
    (folder / "my_pruning" / "__init__.py").write_text(imports)
    info = folder / "my_pruning-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_pruning\nVersion: 1\n")
    point = re.search(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert point
    section, line = point[1].strip().splitlines()
    assert section == '[project.entry-points."fairseq_parp"]'
    (info / "entry_points.txt").write_text("[fairseq_parp]\n" + line.replace('"', "") + "\n")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("packages"))


def run(packages: Path, cwd: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that finds the package as an installed one."""
    path = {"PYTHONPATH": f"{packages}:{tiny.ROOT}"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, env=tiny.environment() | path, capture_output=True, text=True, check=False)


def test_a_real_training_with_method_criterion_and_allocation_from_outside(
    packages: Path, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = [
        "task.pruning.method=one_shot", "+task.pruning.criterion=relative", "+task.pruning.allocation=no_biases",
        "task.pruning.interval=4", "optimization.max_update=6", "checkpoint.save_interval_updates=3",
    ]  # fmt: skip
    done = run(packages, tmp_path, "fairseq_cli.hydra_train", *tiny.training(tmp_path, data, pretrained, *keys))
    assert done.returncode == 0, done.stderr[-3000:]
    for name, sparsity in (("checkpoint_2_3.pt", 0.0), ("checkpoint_last.pt", 0.5)):
        state = checkpoints.read(tmp_path / name)
        entry = next(entry for entry in state["extra_state"].values() if isinstance(entry, dict) and "pruning" in entry)
        masked = {parameter: state["model"][parameter] for parameter in entry["pruning"]["mask"]}
        weights = [tensor for parameter, tensor in masked.items() if parameter.endswith("weight")]
        biases = [tensor for parameter, tensor in masked.items() if parameter.endswith("bias")]
        zeros = sum(int((tensor == 0).sum()) for tensor in weights)
        assert zeros == zero_count(sparsity, sum(map(torch.Tensor.numel, weights))), name
        assert all(bool(tensor.count_nonzero()) for tensor in biases), name


def test_without_the_package_its_names_are_refused(data: Path, pretrained: Path, tmp_path: Path) -> None:
    keys = ["task.pruning.method=one_shot"]
    done = run(tmp_path, tmp_path, "fairseq_cli.hydra_train", *tiny.training(tmp_path, data, pretrained, *keys))
    assert done.returncode == 1
    assert (
        "task.pruning.method='one_shot': must be one of dense, fixed, gmp, mpi, parp, parp_p, rigl, rp, set, ste"
        in done.stderr
    )


def test_an_extension_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[fairseq_parp]\nbroken = not_there\n")
    program = "from fairseq_parp.sparsity import read_config; read_config()"
    path = {"PYTHONPATH": f"{tmp_path}:{tiny.ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=tiny.environment() | path, capture_output=True, text=True, check=False
    )
    assert "ExtensionError: the extension broken (not_there) cannot be loaded (ModuleNotFoundError" in done.stderr
