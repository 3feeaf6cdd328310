"""What docs/extending.md shows, run as written: a package of its own adds one of each kind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import tiny
import torch
from made_up import decode, row

from fairseq_parp import checkpoints
from fairseq_parp.experiments.results import write_results
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.counting import zero_count

PAGE = tiny.ROOT / "docs" / "extending.md"


def install(folder: Path) -> Path:
    """Write the page's files of ``my_pruning`` as an installed package would have them, its entry point included."""
    for name, code in re.findall(r"```python\n# (my_\S+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    modules = sorted(file.stem for file in (folder / "my_pruning").glob("*.py"))
    assert modules == ["__init__", "allocation", "architecture", "criterion", "method", "structure"]
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


@pytest.mark.parametrize("method", ["parp", "gmp"])
def test_a_real_training_with_a_structure_from_outside(
    packages: Path, data: Path, pretrained: Path, tmp_path: Path, method: str
) -> None:
    keys = [
        f"task.pruning.method={method}", "+task.pruning.structure=blocks", "task.pruning.interval=2",
        "task.pruning.sparsity=0.6", "optimization.max_update=6", "checkpoint.save_interval_updates=3",
    ]  # fmt: skip
    command = ("fairseq_cli.hydra_train", *tiny.training(tmp_path, data, pretrained, *keys))
    done = run(packages, tmp_path, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    state = checkpoints.read(tmp_path / "checkpoint_last.pt")
    entry = next(entry for entry in state["extra_state"].values() if isinstance(entry, dict) and "pruning" in entry)
    masked = {name: state["model"][name].flatten() for name in entry["pruning"]["mask"]}
    for name, values in masked.items():
        whole = values[: len(values) // 4 * 4].view(-1, 4) == 0
        assert (whole.all(1) == whole.any(1)).all(), f"{name} has a block that is zero in part"
    size = sum(map(len, masked.values()))
    zeros = sum(int((values == 0).sum()) for values in masked.values())
    assert zeros == zero_count(0.6, size) // 4 * 4
    logged = re.findall(r'"(?:train_)?sparsity": "([0-9.]+)"', done.stdout + done.stderr)
    assert float(logged[-1]) == pytest.approx(zeros / size, abs=1e-6)
    report = run(packages, tmp_path, "fairseq_parp", "report", "checkpoint_last.pt")
    assert f"{zeros:,} zeros of {size:,}" in report.stdout
    assert f"sparsity    {zeros / size:.4g} reached of 0.6 asked" in report.stdout


def test_its_method_goes_through_an_experiments_plan(
    packages: Path, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    (tmp_path / "try.yaml").write_text(
        f"config: small_10m\ncheckpoint: {pretrained}\ndata: {data}\n"
        "variants: {blocks: ['+task.pruning.structure=blocks']}\n"
        "runs: [{method: one_shot, sparsity: 0.5, variant: ['', blocks]}]\n"
    )
    command = ("fairseq_parp", "experiment", "try.yaml", "--dry-run")
    done = run(packages, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "left: 2 trainings of 600 updates" in done.stdout
    assert "# train one_shot-0.5-seed1\nfairseq-hydra-train" in done.stdout
    trainings = [line for line in done.stdout.splitlines() if line.startswith("fairseq-hydra-train")]
    assert [line.rpartition(" ")[2] for line in trainings if "task.pruning.method=one_shot" in line][1:] == [
        "+task.pruning.structure=blocks"
    ]
    assert "# decode one_shot-0.5-seed1 test\nfairseq-generate" in done.stdout
    without = run(tmp_path, tmp_path, *command)
    assert without.returncode == 2
    assert "runs[0].method='one_shot': must be one of dense, " in without.stderr


def test_its_method_has_a_picture_and_a_verdict(packages: Path, tmp_path: Path) -> None:
    """Three seeds: about twenty errors of dense, about half as many of PARP and of one_shot."""
    errors = {("dense", 0.0): (20, 21, 19), ("parp", 0.5): (11, 10, 12), ("one_shot", 0.5): (10, 12, 11)}
    made = [
        decode(tmp_path, row(*setting, seed=seed), [count // 10 + (n < count % 10) for n in range(10)])
        for setting, counts in errors.items()
        for seed, count in enumerate(counts, start=1)
    ]
    write_results(tmp_path / "made.tsv", made)
    done = run(packages, tmp_path, "fairseq_parp", "plot", "made.tsv")
    assert done.returncode == 0, done.stderr
    lines = [line.split("; ")[0] for line in done.stdout.splitlines() if line.startswith("- ")]
    judged = {line.split(" on test")[0]: line.rsplit(": ", 1)[1] for line in lines}
    assert judged == {
        "- parp 0.5 against dense": "win",
        "- one_shot 0.5 against dense": "win",
        "- parp 0.5 against one_shot 0.5": "not significant",
    }
    assert all("3 paired seeds" in line for line in lines)
    picture = matplotlib.image.imread(tmp_path / "made" / "error_rates.png")
    own = (255 * picture[..., :3]).round() == (0x88, 0x22, 0x55)
    assert own.all(axis=-1).any(), "no point has the colour of the method's facts"


def test_its_architecture_has_the_scope_layers_and_kinds_of_a_report(packages: Path, tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(1)
    shapes = {"wte.weight": (9, 4)}
    for layer in range(2):
        shapes |= {f"h.{layer}.attn.c_attn.weight": (12, 4), f"h.{layer}.attn.c_proj.weight": (4, 4)}
        shapes |= {f"h.{layer}.mlp.c_fc.weight": (8, 4), f"h.{layer}.mlp.c_proj.bias": (4,)}
    model = {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}
    model["h.1.mlp.c_fc.weight"][:2] = 0
    torch.save({"model": model, "cfg": {}}, tmp_path / "gpt.pt")
    report = run(packages, tmp_path, "fairseq_parp", "report", "gpt.pt", "--json")
    assert report.returncode == 0, report.stderr
    found = json.loads(report.stdout)
    assert (found["prunable"]["zeros"], found["prunable"]["size"]) == (8, 200)
    assert {name: count["zeros"] for name, count in found["layers"].items()} == {"h.0": 0, "h.1": 8}
    assert {name: count["size"] for name, count in found["kinds"].items()} == {
        "attn.c_attn": 96, "attn.c_proj": 32, "mlp.c_fc": 64, "mlp.c_proj": 8,
    }  # fmt: skip
    make = ("mask", "make", "gpt.pt", "--sparsity", "0.5", "--allocation", "layer", "-o", "m.safetensors")
    made = run(packages, tmp_path, "fairseq_parp", *make)
    assert made.returncode == 0, made.stderr
    mask = MaskSet.load(tmp_path / "m.safetensors")
    assert [sum(mask.zeros(name) for name in mask.bits if f"h.{layer}." in name) for layer in range(2)] == [50, 50]
    without = run(tmp_path, tmp_path, "fairseq_parp", "report", "gpt.pt")
    assert "no Transformer or conformer layer" in without.stderr


def test_without_the_package_its_names_are_refused(data: Path, pretrained: Path, tmp_path: Path) -> None:
    keys = ["task.pruning.method=one_shot"]
    done = run(tmp_path, tmp_path, "fairseq_cli.hydra_train", *tiny.training(tmp_path, data, pretrained, *keys))
    assert done.returncode == 1
    assert (
        "task.pruning.method='one_shot': must be one of dense, fixed, gmp, mpi, parp, parp_p, rigl, rp, "
        "s3_router, set, ste" in done.stderr
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
