"""Every command with every file argument replaced by every kind of file that is not due there: one clear line each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import file_kinds
import pytest
from rights import as_any_user

from fairseq_parp.cli import main
from fairseq_parp.cli.examples import EXAMPLES

INPUT, OUTPUT = object(), object()

COMMANDS: dict[str, list[str | tuple[object, str]]] = {
    "abx": ["abx", (INPUT, "pretrained"), (INPUT, "item"), "--audio", (INPUT, "data"), "--plot", (OUTPUT, ".png")],
    "align": ["align", (INPUT, "finetuned"), (INPUT, "data"), "--split", "train", "--speaker", r"([0-9])\.flac$",
              "-o", (OUTPUT, ".item")],
    "bench table": ["bench", "--table", (INPUT, "record"), "--json", (OUTPUT, ".json")],
    "classify": ["classify", (INPUT, "classifier"), (INPUT, "audio")],
    "classify split": ["classify", (INPUT, "classifier"), "--data", (INPUT, "labelled"), "--split", "valid",
                       "--plot", (OUTPUT, ".png"), "--results", (OUTPUT, ".txt")],
    "classify texts": ["classify", (INPUT, "text classifier"), "--data", (INPUT, "binarised"), "--split", "valid"],
    "codes": ["codes", (INPUT, "grounded"), "--data", (INPUT, "captioned"), "--images", (INPUT, "features"), "--split",
              "valid", "--alignment", (INPUT, "words"), "--objects", (INPUT, "objects"), "--plot", (OUTPUT, ".png")],
    "codes of one": ["codes", (INPUT, "grounded"), "--data", (INPUT, "captioned"), "--split", "valid", "--code", "0",
                     "--objects", (INPUT, "objects"), "--pictures", (INPUT, "pictures"), "--plot", (OUTPUT, ".png")],
    "configs copy": ["configs", "copy", "base_10m", "-o", (OUTPUT, ".yaml")],
    "demo": ["demo", "--out", (OUTPUT, "")],
    "experiment": ["experiment", (INPUT, "experiment"), "--dry-run", "--out", (OUTPUT, "")],
    "export": ["export", (INPUT, "finetuned"), "--to", "compact", "--audio", (INPUT, "audio"),
               "--results", (INPUT, "results"), "-o", (OUTPUT, "")],
    "images digits": ["images", "digits", (INPUT, "digits"), "--out", (OUTPUT, "")],
    "images embed": ["images", "embed", (INPUT, "photos"), "-o", (OUTPUT, ".safetensors")],
    "images import": ["images", "import", (INPUT, "array"), "--ids", (INPUT, "ids"), "--boxes", (INPUT, "boxes"),
                      "--encoder", "made up", "-o", (OUTPUT, ".safetensors")],
    "import": ["import", (INPUT, "of transformers"), "-o", (OUTPUT, ".pt")],
    "localise": ["localise", (INPUT, "grounded"), (INPUT, "audio"), "picture0", "--images", (INPUT, "features"),
                 "--start", "0.1", "--end", "0.3", "--plot", (OUTPUT, ".png"), "--picture", (INPUT, "picture")],
    "localise words": ["localise", (INPUT, "grounded"), "--data", (INPUT, "captioned"), "--split", "valid",
                       "--images", (INPUT, "features"), "--alignment", (INPUT, "words"),
                       "--objects", (INPUT, "objects")],
    "manifest captions": ["manifest", "captions", "train=", (INPUT, "captions"), "--root", (INPUT, "data"),
                          "--audio", (OUTPUT, "-audio"), "--out", (OUTPUT, "")],
    "manifest check": ["manifest", "check", (INPUT, "data")],
    "manifest commonvoice": ["manifest", "commonvoice", (INPUT, "corpus"), "--splits", (INPUT, "corpus"),
                             "--language", "nl", "--out", (OUTPUT, "")],
    "manifest librilight": ["manifest", "librilight", (INPUT, "corpus"), "--out", (OUTPUT, "")],
    "manifest librispeech": ["manifest", "librispeech", (INPUT, "corpus"), "--dictionary", (INPUT, "dictionary"),
                             "--out", (OUTPUT, "")],
    "manifest table": ["manifest", "table", (INPUT, "table"), "--root", (INPUT, "data"), "--audio", (OUTPUT, "-audio"),
                       "--dictionary", (INPUT, "dictionary"), "--out", (OUTPUT, "")],
    "manifest text": ["manifest", "text", (INPUT, "sentences"), "--valid", (INPUT, "sentences"),
                      "--test", (INPUT, "sentences"), "--tokenizer", (INPUT, "tokenizer"), "--out", (OUTPUT, "")],
    "manifest union": ["manifest", "union", (INPUT, "data"), "--out", (OUTPUT, "")],
    "mask apply": ["mask", "apply", (INPUT, "pretrained"), (INPUT, "mask"), "-o", (OUTPUT, ".pt")],
    "mask make": ["mask", "make", (INPUT, "pretrained"), "--sparsity", "0.5", "-o", (OUTPUT, ".safetensors")],
    "mask overlap": ["mask", "overlap", (INPUT, "mask"), (INPUT, "mask"), "--baseline", (INPUT, "mask"),
                     "--plot", (OUTPUT, ".png")],
    "mask show": ["mask", "show", (INPUT, "mask")],
    "part apply": ["part", "apply", (INPUT, "pretrained"), (INPUT, "part"), "-o", (OUTPUT, ".pt")],
    "part export": ["part", "export", (INPUT, "mms part"), "-o", (OUTPUT, "")],
    "part extract": ["part", "extract", (INPUT, "of a part"), "--base", (INPUT, "pretrained"),
                     "-o", (OUTPUT, ".safetensors")],
    "part import": ["part", "import", (INPUT, "mms"), (INPUT, "adapter"), "--vocab", (INPUT, "vocabulary"),
                    "--language", "nld", "-o", (OUTPUT, ".safetensors")],
    "part show": ["part", "show", (INPUT, "part")],
    "plot": ["plot", (INPUT, "experiment results"), "--out", (OUTPUT, "")],
    "recipe convert": ["recipe", "convert", (INPUT, "recipe"), "-o", (OUTPUT, ".yaml")],
    "report": ["report", (INPUT, "finetuned")],
    "retrieve": ["retrieve", (INPUT, "grounded"), "--data", (INPUT, "captioned"), "--images", (INPUT, "features"),
                 "--split", "valid", "--rankings", (OUTPUT, ".tsv"), "--sheet", (OUTPUT, ".png"),
                 "--pictures", (INPUT, "pictures")],
    "score": ["score", (INPUT, "results")],
    "train": ["train", "--config-dir", (INPUT, "folder"), "--config-name", "none"],
    "transcribe": ["transcribe", (INPUT, "finetuned"), (INPUT, "audio")],
    "transcribe words": ["transcribe", (INPUT, "finetuned"), (INPUT, "audio"), "--lm", (INPUT, "lm"),
                         "--lexicon", (INPUT, "lexicon"), "--dictionary", (INPUT, "dictionary")],
    "transcribe parts": ["transcribe", "--base", (INPUT, "pretrained"), "--part", "nl=", (INPUT, "part"),
                         "--table", (INPUT, "languages")],
    "verify": ["verify", (INPUT, "pretrained")],
}  # fmt: skip
"""Words; an argument that is a file is (input, the kind that is due) or (output, its ending)."""

WITHOUT_FILES = {"completion", "configs list", "configs show", "doctor"}

KINDS = [
    "missing", "text", "folder", "without rights", "audio", "empty", "folder without rights",
    "picture", "array", "lm", "table", "recipe", "experiment", "experiment results", "results", "item",
    "finetuned", "pretrained", "grounded", "classifier", "compact", "foreign", "torch prune", "transformers",
    "mask", "part", "features", "data", "captioned", "binarised", "of transformers",
]  # fmt: skip
"""What is put in an argument's place."""

LONG = {"codes", "codes of one", "localise", "localise words", "retrieve", "transcribe words", "verify"}
"""Commands that load a model before they read other files, or train."""

FEW, FEWER = 5, 2
"""Of the first kinds, all cases run in ``make test``, fewer of a long command; the others are slow."""

UNABLE = {"demo", "manifest commonvoice", "manifest librilight", "manifest librispeech", "train"}
"""Commands that take minutes, or corpora that are not here."""

CHECKPOINTS = {"finetuned", "pretrained", "grounded", "classifier", "compact"}
TAKEN: dict[tuple[str, int], set[str]] = {
    ("abx", 1): CHECKPOINTS, ("abx", 4): {"captioned"}, ("align", 1): {"compact"}, ("align", 2): {"captioned"},
    ("export", 1): {"pretrained", "grounded", "compact"}, ("images import", 6): {"array"},
    ("manifest captions", 5): {"captioned"}, ("manifest check", 2): {"captioned"},
    ("manifest table", 4): {"captioned"}, ("manifest table", 8): {"finetuned"}, ("manifest text", 6): {"table"},
    ("manifest union", 2): {"captioned"}, ("mask apply", 2): CHECKPOINTS, ("mask apply", 3): CHECKPOINTS,
    ("mask make", 2): CHECKPOINTS, ("mask overlap", 2): CHECKPOINTS, ("mask overlap", 3): CHECKPOINTS,
    ("mask overlap", 5): CHECKPOINTS, ("mask show", 2): CHECKPOINTS | {"torch prune"}, ("report", 1): CHECKPOINTS,
    ("transcribe", 1): {"compact"}, ("transcribe words", 1): {"compact"},
}  # fmt: skip
"""Kinds that an argument takes beside the one that is due."""

MISFITS = {
    ("classify texts", 1, "classifier"): "valid.tsv: no such file",
    ("images import", 2, "experiment results"): "goes with an array",
    ("images import", 2, "table"): "goes with an array",
    ("manifest librispeech", 4, "classifier"): "no LibriSpeech",
    ("manifest librispeech", 4, "finetuned"): "no LibriSpeech",
    ("manifest table", 8, "classifier"): "which the dictionary lacks",
    ("mask overlap", 2, "torch prune"): "against torch prune.pt: the mask is of another model",
    ("mask overlap", 3, "torch prune"): "torch prune.pt against",
    ("mask overlap", 5, "torch prune"): "the baseline against",
}
"""Kinds that an argument takes, but not beside the others: the line names one of these."""

REASONS = {
    "missing": ["no such", "is not there", "is no folder", "no folder", "no audio file", "looked", "no manifest"],
    "folder": ["folder", "no such file"],
    "without rights": ["ermission denied", "no such", "folder", "looked", "no manifest", "no audio file"],
}
"""What the line has to have, one of them."""

SLOTS = [(name, at) for name, words in COMMANDS.items() for at, word in enumerate(words) if isinstance(word, tuple)]
INPUTS = [slot for slot in SLOTS if COMMANDS[slot[0]][slot[1]][0] is INPUT]
OUTPUTS = [slot for slot in SLOTS if COMMANDS[slot[0]][slot[1]][0] is OUTPUT]
PLACES = ["/proc/none", "text", "folder without rights"]
"""Folders in which nothing can be written; one of them is a file."""


def test_every_command_that_takes_files_is_here() -> None:
    here = {name for name in EXAMPLES if any(f"{command} ".startswith(f"{name} ") for command in COMMANDS)}
    assert here == set(EXAMPLES) - WITHOUT_FILES


@pytest.fixture(scope="module")
def files(
    finetuned: Path, pretrained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """A file of each kind."""
    made = file_kinds.make(tmp_path_factory.mktemp("kinds"), data, pretrained, finetuned / "checkpoint_last.pt")
    yield made
    for name in ("without rights", "folder without rights"):
        made[name].chmod(0o700)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


def argv(command: str, files: dict[str, Path], place: Path, at: int | None = None, by: Path | None = None) -> list[str]:
    """Return a command's words; the argument ``at`` is replaced."""
    words: list[str] = []
    for number, word in enumerate(COMMANDS[command]):
        if isinstance(word, str):
            words.append(word)
            continue
        named = by if number == at else files[word[1]] if word[0] is INPUT else place / f"new{word[1]}"
        before = words.pop() if words[-1].endswith("=") else ""
        words.append(f"{before}{named}")
    return words


def refused(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that cannot succeed, in an empty folder; check that it ends in one line and leaves nothing."""
    with as_any_user():
        status = main(words)
    shown = capsys.readouterr().err
    assert status in (1, 2), shown
    assert shown.splitlines()[-1].startswith(f"fairseq-parp {command.split()[0]}: ")
    assert "Traceback" not in shown
    assert [file for file in Path.cwd().rglob("*") if file.is_file()] == []
    return shown


def case_of(*case: str | int, quick: bool) -> object:
    return pytest.param(*case, marks=[] if quick else [pytest.mark.slow])


def wrong() -> Iterator[object]:
    """Every input with every kind that is not due there."""
    for command, at in INPUTS:
        due = {COMMANDS[command][at][1]} | TAKEN.get((command, at), set())
        for kind in KINDS:
            if kind not in due and (command, at, kind) not in MISFITS:
                quick = kind in KINDS[: FEWER if command in LONG else FEW]
                yield case_of(command, at, kind, quick=quick)


@pytest.mark.parametrize("command", [case_of(name, quick=name not in LONG) for name in COMMANDS if name not in UNABLE])
def test_the_right_files_are_taken(command: str, files: dict[str, Path], place: Path) -> None:
    assert main(argv(command, files, place)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "at", "kind"), [(*slot, kind) for slot, kinds in TAKEN.items() for kind in sorted(kinds)]
)
def test_other_kinds_that_are_taken(command: str, at: int, kind: str, files: dict[str, Path], place: Path) -> None:
    assert main(argv(command, files, place, at, files[kind])) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("command", "at", "kind"), MISFITS)
def test_a_file_that_does_not_fit_the_others(
    command: str, at: int, kind: str, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert MISFITS[command, at, kind] in refused(command, argv(command, files, place, at, files[kind]), capsys)


@pytest.mark.parametrize(("command", "at", "kind"), wrong())
def test_a_file_of_another_kind(
    command: str, at: int, kind: str, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(command, argv(command, files, place, at, files[kind]), capsys)
    assert str(files[kind]) in shown
    assert any(word in shown for word in REASONS.get(kind, [""])), shown


@pytest.mark.parametrize(("command", "at", "where"), [(*slot, where) for slot in OUTPUTS for where in PLACES])
def test_an_output_that_cannot_be_written(
    command: str, at: int, where: str, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = (Path(where) if where.startswith("/") else files[where]) / f"out{COMMANDS[command][at][1]}"
    shown = refused(command, argv(command, files, place, at, out), capsys)
    assert f"{out}: cannot be written" in shown
    assert files["text"].read_text() == file_kinds.TEXTS["text"]


@pytest.mark.parametrize(("command", "at"), OUTPUTS)
def test_an_output_that_is_a_folder_or_file_already(
    command: str, at: int, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = COMMANDS[command][at][1]
    out = files["folder"] / f"taken{ending}" if ending.startswith(".") else files["text"]
    if ending.startswith("."):
        out.mkdir(exist_ok=True)
    shown = refused(command, argv(command, files, place, at, out), capsys)
    assert f"{out}: cannot be written (it is a {'folder' if ending.startswith('.') else 'file'}; name a " in shown
