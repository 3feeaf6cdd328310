"""A shell completes verbs, actions, options, choices and files by the script that the command prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fairseq_parp import cli

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_fairseq_parp fairseq-parp "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "fairseq-parp.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as out:
        patch.setattr("sys.stdout", out)
        assert cli.main(["completion", "bash"]) == 0
    return path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["rep"], "report"),
        (["mask", "o"], "overlap"),
        (["part", "im"], "import"),
        (["manifest", "table", "--valid-s"], "--valid-speakers"),
        (["transcribe", "--format", "s"], "srt"),
        (["completion", ""], "bash zsh tcsh"),
        (["report", "check"], "checkpoint.pt"),
        (["export", "checkpoint.pt", "-o", "check"], "checkpoint.pt"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_bash_completes(words: list[str], offered: str, script: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    command = ["bash", "-c", ASK, "bash", str(script), "fairseq-parp", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(offered.split())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_every_verb_is_in_the_script_of_another_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    assert [verb for verb in cli.VERBS if verb not in shown] == []
