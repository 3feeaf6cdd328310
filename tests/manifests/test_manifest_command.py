"""``fairseq-parp manifest``: output, exit status, and every problem on a line of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fairseq_parp.cli import main


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    status = main(["manifest", *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def table(folder: Path) -> Path:
    """The utterances of ``folder`` as a table of transcripts."""
    file = folder.parent / "transcripts.tsv"
    file.write_text(
        "path\ttext\tspeaker\tage\naudio/anna/1.flac\tHELLO WORLD\tanna\t30\n"
        "audio/anna/2.flac\tTWO\tanna\t30\naudio/ben/1.wav\tOH\tben\t40\n"
    )
    return file


def test_check_of_a_sound_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", folder) == (0, "train: 3 utterances, 0.1 min\n", "")


def test_check_shows_every_problem(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train.ltr").write_text("H E L L Ö |\n\n")
    status, out, err = run(capsys, "check", folder, "--splits", "train", "valid", "--labels", "ltr")
    keys = "dataset.train_subset=, dataset.valid_subset= or fairseq-generate's --gen-subset names one of them"
    assert status == 1
    assert out == "train: 3 utterances, 0.1 min\nvalid: 0 utterances, 0.0 min\n"
    assert err.splitlines() == [
        f"{folder}/train.ltr:2: no labels; an utterance needs one, or leave it out of the tsv and the label files",
        f"{folder}/train.ltr:3: 2 lines for 3 utterances; line N belongs to line N + 1 of train.tsv",
        f"{folder}/train.ltr:1: symbol 'Ö' is not in the dictionary (1 line(s): 1)",
        f"{folder}: no split 'valid' (valid.tsv); it has train; {keys}",
        "fairseq-parp manifest: 4 problem(s)",
    ]


def test_a_problem_of_the_dictionary_is_shown_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dict.ltr.txt").unlink()
    _, _, err = run(capsys, "check", folder, "--splits", "train", "train", "--labels", "ltr")
    assert err == f"{folder}/dict.ltr.txt: no such file\nfairseq-parp manifest: 1 problem(s)\n"


def test_check_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", folder, "--json")
    split = {"split": "train", "utterances": 3, "frames": 52_640, "problems": []}
    assert (status, json.loads(out)) == (0, {"splits": [split], "ok": True})
    (folder / "train.wrd").write_text("ONE\n")
    status, out, _ = run(capsys, "check", folder, "--json")
    assert (status, json.loads(out)["ok"]) == (1, False)
    assert json.loads(out)["splits"][0]["problems"][0].startswith(f"{folder}/train.wrd:2: 1 lines for 3 utterances")


def test_check_of_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "check", tmp_path / "none")
    assert (status, err) == (1, f"{tmp_path}/none: no such folder\nfairseq-parp manifest: 1 problem(s)\n")


def test_check_of_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "check", folder / "train.tsv")
    assert (status, err) == (1, f"{folder}/train.tsv: not a folder\nfairseq-parp manifest: 1 problem(s)\n")


def test_a_long_dictionary_is_not_printed_whole(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 3), 16_000)
    table.write_text("path\ttext\nlong.wav\t" + "".join(chr(0x4E00 + number) for number in range(103)) + "\n")
    status, out, err = run(capsys, "table", table, "--out", tmp_path / "out")
    assert status == 0
    assert err.endswith("warning: no text has a space, so a word is a whole utterance: read UER, not WER\n")
    assert "104 symbols: | 一 丁 " in out
    assert " ... (4 more)\n" in out


def test_table_then_check(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "table", table, "--out", tmp_path / "out", "--valid-speakers", "1")
    assert (status, out.splitlines()[2:]) == (
        0,
        [
            "9 symbols: O | L H W D E R T",
            f"written to {tmp_path}/out",
            "speakers moved from train to valid: ben",
            "columns not used: age",
        ],
    )
    assert err == ""
    assert run(capsys, "check", tmp_path / "out")[0] == 0


def test_table_warns_of_what_train_lacks(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text().replace("OH", "OX"))
    _, _, err = run(capsys, "table", table, "--out", tmp_path / "out", "--valid-speakers", "1")
    assert err == "warning: never in train, so no model can learn them: 'X'\n"


def test_table_shows_every_bad_row(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text().replace("ben/1", "ben/2").replace("TWO", "T|WO"))
    status, out, err = run(capsys, "table", table, "--out", tmp_path / "out")
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        f"{table}:3: text has a '|', which ends words in letter labels; replace it",
        f"{table}:4: {tmp_path}/audio/ben/2.wav: no such file",
        "fairseq-parp manifest: 2 problem(s)",
    ]


def test_table_keeps_a_dictionary(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.txt").write_text("".join(f"{symbol} 1\n" for symbol in "ZDTEHRLWO|"))
    keep = ("--dictionary", tmp_path / "old.txt")
    status, out, err = run(capsys, "table", table, "--out", tmp_path / "out", *keep)
    assert (status, out.splitlines()[1]) == (0, "10 symbols: Z D T E H R L W O |")
    assert err.startswith("warning: never in train, so no model can learn them: 'Z'\nwarning: no valid split")
    assert (tmp_path / "out/dict.ltr.txt").read_bytes() == (tmp_path / "old.txt").read_bytes()
    assert run(capsys, "check", tmp_path / "out")[0] == 0
    table.write_text(table.read_text().replace("OH", "QUO"))
    status, _, err = run(capsys, "table", table, "--out", tmp_path / "new", *keep)
    assert (status, err.splitlines()[:2]) == (
        1,
        [f"audio/ben/1.wav: has {symbol!r}, which the dictionary lacks" for symbol in "QU"],
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("A 1\nA 2\n", ":2: 'A' is already on line 1"), ("<s> 1 #fairseq:overwrite\nA 1\n", ": places '<s>', which is")],
)
def test_a_dictionary_that_cannot_be_kept(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    (tmp_path / "old.txt").write_text(text)
    status, _, err = run(capsys, "table", table, "--out", tmp_path / "out", "--dictionary", tmp_path / "old.txt")
    assert status == 1
    assert err.startswith(f"{tmp_path}/old.txt{reason}")


@pytest.mark.parametrize("action", ["table", "union", "librilight", "librispeech", "commonvoice"])
def test_every_action_that_writes_a_dictionary_can_keep_one(capsys: pytest.CaptureFixture[str], action: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["manifest", action, "--help"])
    assert "--dictionary FILE" in capsys.readouterr().out


def test_a_flood_is_cut_and_its_cause_named(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"clips/{number}.wav\tHELLO" for number in range(500)] + [f"clips/x{number}.wav\t" for number in range(12)]
    table.write_text("\n".join(["path\ttext", *rows, "audio/ben/1.wav\tA|B"]) + "\n")
    status, _, err = run(capsys, "table", table, "--out", tmp_path / "out")
    *shown, last = err.splitlines()
    assert (status, len(shown)) == (1, 10 + 1 + 10 + 1 + 1)
    assert any(line.startswith("... and 490 more of this kind: the audio is elsewhere; --root names") for line in shown)
    assert "... and 2 more of this kind" in shown
    assert last.startswith("fairseq-parp manifest: 513 problem(s), all in ")
    everything = Path(last.rpartition(" ")[2])
    assert len(everything.read_text().splitlines()) == 513
    everything.unlink()


def test_table_refuses_an_option_in_one_line(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "table", table, "--out", tmp_path / "out", "--valid-speakers", "9")
    assert (status, err) == (
        2,
        "fairseq-parp manifest: --valid-speakers=9: from 1 to 1; train has 2 speakers: anna, ben\n",
    )


def test_as_a_process_without_torch_or_fairseq(folder: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, fairseq=None); from fairseq_parp.cli import main; "
        f"sys.exit(main(['manifest', 'check', {str(folder)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "train: 3 utterances, 0.1 min\n", "")
