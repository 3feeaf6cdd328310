"""Every command's help has an example, which the command takes; no help needs torch, and nothing is slow to start."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fairseq_parp import cli
from fairseq_parp.cli.examples import EXAMPLES


def every_command() -> Iterator[str]:
    for verb in cli.VERBS:
        actions = getattr(importlib.import_module(cli._module(verb).__name__), "ACTIONS", None)
        yield from [verb] if actions is None else [f"{verb} {action}" for action in actions]


@pytest.mark.parametrize("command", every_command())
def test_the_example_of_a_help_is_one_that_the_command_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command == "train":  # its help is its own
        assert cli.main(["train", "--help"]) == 0
    else:
        with pytest.raises(SystemExit) as stop:
            cli.main([*command.split(), "--help"])
        assert stop.value.code == 0
        cli.parse(shlex.split(f"{command} {EXAMPLES[command]}"))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"example: fairseq-parp {command}" in shown


@pytest.mark.parametrize("group", ["", *sorted({each.split()[0] for each in every_command() if " " in each})])
def test_the_help_of_a_group_leads_to_the_examples(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([*group.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    below = f"fairseq-parp {group} ACTION" if group else "fairseq-parp VERB"
    assert shown.endswith(f"{below} --help has the arguments of {'an action' if group else 'a verb'} and an example")


def test_there_is_no_example_of_a_command_that_is_not_there() -> None:
    assert set(EXAMPLES) < set(every_command())


@pytest.mark.parametrize(
    "command",
    ["", "report", "transcribe", "verify", "experiment", "export", "mask", "mask apply", "mask overlap", "mask show"],
)
def test_help_imports_neither_torch_nor_fairseq_nor_numpy(command: str) -> None:
    code = (
        "import sys; from fairseq_parp import cli\n"
        f"try: cli.main({[*command.split(), '--help']!r})\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'fairseq', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
