"""What a command imports before it works: torch takes two seconds, and is for the commands that need it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tiny

from fairseq_parp.cli import main
from fairseq_parp.cli.examples import EXAMPLES
from fairseq_parp.environment.paths import configs

HEAVY = ("torch", "fairseq", "transformers", "scipy", "matplotlib")
"""What takes long to import."""

RUN = """
import contextlib, io, json, sys
from fairseq_parp.cli import main
heavy = set(sys.argv[1:])
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(words)
        except SystemExit as error:
            status = error.code
    found = heavy & set(sys.modules)
    heavy -= found
    print(" ".join(words), "|", status, "|", " ".join(sorted(found)))
"""


def imported(commands: Sequence[Sequence[str]], place: Path) -> list[str]:
    """Run commands in one process; return those that failed, or were the first to import something heavy."""
    command = [sys.executable, "-c", RUN, *HEAVY]
    done = subprocess.run(
        command,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=place,
        env=tiny.environment(),
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(commands), done.stderr
    return [line for line in lines if not line.endswith("| 0 | ")]


def test_no_help_waits_for_a_heavy_import(tmp_path: Path) -> None:
    assert imported([["--help"], *([*name.split(), "--help"] for name in EXAMPLES)], tmp_path) == []


def test_commands_on_manifests_recipes_and_mask_files_need_no_torch(
    data: Path, pretrained: Path, tmp_path: Path
) -> None:
    assert main(["mask", "make", str(pretrained), "--sparsity", "0.5", "-o", str(tmp_path / "mask.safetensors")]) == 0
    (tmp_path / "table.tsv").write_text("path\ttext\ntrain-0.flac\tAB\n")
    (tmp_path / "generate-test.txt").write_text("T-0\tA B\nD-0\t-1\tA B\n")
    commands = [
        ["mask", "show", "mask.safetensors"],
        ["manifest", "table", "table.tsv", "--root", str(data), "--out", "table"],
        ["manifest", "check", str(data)],
        ["manifest", "union", str(data), "--out", "union"],
        ["configs", "list"],
        ["configs", "show", "base_10m"],
        ["configs", "copy", "base_10m", "-o", "mine.yaml"],
        ["recipe", "convert", str(configs() / "base_10m.yaml"), "-o", "ours.yaml"],
        ["score", "generate-test.txt", "--units", "letters"],
        ["completion", "bash"],
    ]
    assert imported(commands, tmp_path) == []
