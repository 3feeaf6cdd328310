"""The folder alone is the plugin: any fairseq environment will do, wherever the folder lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import tiny

# What fairseq itself does not bring along: none of it may be needed to train and to decode.
NOT_FAIRSEQS = ("safetensors", "soxr", "matplotlib", "espeakng_loader", "pytest", "hypothesis")

SITE = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


def test_the_plugin_trains_and_decodes_from_its_folder_alone(data: Path, pretrained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some where" / "fairseq_parp"
    shutil.copytree(tiny.PLUGIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(names=NOT_FAIRSEQS))
    run = tmp_path / "run"
    program = "import runpy, sys; sys.path[:] = [p for p in sys.path if p not in ('', {root!r})]; "
    program += "runpy.run_module(sys.argv.pop(1), run_name='__main__')"
    start = [tiny.sys.executable, "-c", program.format(root=str(tiny.ROOT))]
    overrides = tiny.training(run, data, pretrained, "optimization.max_update=4")
    overrides[overrides.index(f"common.user_dir={tiny.PLUGIN}")] = f"common.user_dir='{folder}'"
    environment = {**tiny.environment(), "PYTHONPATH": str(site)}
    for module, arguments in (
        ("fairseq_cli.hydra_train", overrides),
        ("fairseq_cli.generate", [str(data), "--user-dir", str(folder), "--task", "parp_finetuning", "--cpu", "--path",
                                  str(run / "checkpoint_last.pt"), "--gen-subset", "test", "--results-path", str(run)]),
    ):  # fmt: skip
        done = tiny.subprocess.run(
            [*start, module, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "generate-test.txt").read_text().count("\nH-") == 5
