"""The commands in README and docs: those that can run here run as written, the others are at least well-formed."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from omegaconf import OmegaConf
from recipes import CONFIGS, load, refused

from fairseq_parp import cli
from fairseq_parp.checkpoints import read
from fairseq_parp.commands.front import hydra_arguments
from fairseq_parp.demo import corpus
from fairseq_parp.sparsity.upgrade import find_state

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

PAGES = [ROOT / "README.md", ROOT / "manifests" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the commands of fenced blocks, split as a shell does; lines that end in a backslash go on."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "bash"):
            continue  # but its last fence is no first one
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = shlex.split(line, comments=True) if re.match(r"(fairseq|make|pip)", line) else []
            if words:
                yield words


EVERY = [(page.relative_to(ROOT), words) for page in PAGES for words in commands_in(page.read_text())]


def test_there_are_commands() -> None:
    assert len(EVERY) > 15
    assert {words[0] for _, words in EVERY} >= {"make", "fairseq-parp", "fairseq-hydra-train", "fairseq-generate"}


@pytest.mark.parametrize(("page", "words"), EVERY)
def test_commands_are_well_formed(page: Path, words: list[str]) -> None:
    if words[0] == "fairseq-parp":
        cli.parse(words[1:])
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    if words[:2] == ["fairseq-parp", "train"]:
        hydra_arguments(words[2:])
    if words[0] == "fairseq-hydra-train" or words[:2] == ["fairseq-parp", "train"]:
        name = words[words.index("--config-name") + 1]
        if not name.isupper():
            assert refused(" ".join(words), load(CONFIGS / f"{name}.yaml")) == [], page


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README's reader has it: the repository, a table of transcripts, a pretrained checkpoint."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("configs", "fairseq_parp"):
        (folder / name).symlink_to(ROOT / name)
    rows = corpus.plan(1, {"train": 5, "valid": 3, "test": 3})
    corpus.write(folder, rows, 1)
    (folder / "transcripts.tsv").rename(folder / "TRANSCRIPTS.tsv")
    (folder / "FILE.wav").write_bytes((folder / rows[0].path).read_bytes())
    tiny.make_pretrained(folder / "wav2vec_small.pt")
    return folder


def chain() -> str:
    """The README's commands from the table to a finetuned checkpoint and what it is good for."""
    trained = README.split("From the table to a")[1].split("\nFor LibriSpeech")[0]
    return trained + README.split("### 4. Use the finetuned checkpoint")[1].split("\n### ")[0]


def run_as_written(text: str, place: Path, server: tiny.Commands) -> None:
    """Run the commands of a text in the reader's folder."""
    # Only made shorter, and narrower masks for a narrower model. Where a page trains on LibriSpeech, the reader's own.
    shorter = ["optimization.max_update=4", "common.cpu=true", "model.mask_channel_prob=0.0", "dataset.num_workers=0"]
    shorter += ["dataset.validate_interval_updates=4", "dataset.valid_subset=valid"]
    for words in commands_in(text):
        if words[:2] == ["fairseq-parp", "train"]:
            assert "dataset.valid_subset=valid" in words
            server.train(place, hydra_arguments([*words[2:], *shorter[:-1]]))
        elif words[0] == "fairseq-hydra-train":
            server.train(place, [*words[1:], *shorter])
        elif words[0] == "fairseq-generate":
            server.run("fairseq_cli.generate", words[1:], place)
        else:
            assert cli.main(words[1:]) == 0, words


def test_the_readmes_chain_ends_in_a_wer_and_the_page_on_masks_runs_as_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    server = tiny.Commands(tmp_path)
    run_as_written(chain(), place, server)
    for language in ("dutch", "german"):
        (place / "outputs" / language).mkdir(parents=True)
        shutil.copy(place / "outputs/base_10m/checkpoint_last.pt", place / "outputs" / language)
    shown = capsys.readouterr().out
    assert re.search(r"^WER  \d+\.\d\d %  \(\d+ errors / \d+ words\)  substitutions \d+ \(", shown, flags=re.MULTILINE)
    assert "sparsity 0.5" in shown
    run_as_written((ROOT / "docs" / "masks.md").read_text(), place, server)
    server.close()
    assert "A-baseline" in capsys.readouterr().out
    assert (place / "overlap.png").stat().st_size > 10_000


def test_the_page_on_adapters_runs_as_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    if not (place / "DATA").exists():  # the README's chain, if it ran before, made it
        make = next(words for words in commands_in(chain()) if words[1] == "manifest")
        assert cli.main(make[1:]) == 0
    server = tiny.Commands(tmp_path)
    run_as_written((ROOT / "docs" / "adapters.md").read_text(), place, server)
    server.close()
    shown = capsys.readouterr().out
    assert re.search(r"^trained +lora: [\d,]+ of [\d,]+ parameters \(.*adapters [\d,]+, head", shown, re.MULTILINE)
    assert shown.count("\nfairseq-hydra-train ") == 24
    for name, kind in (("adapters", "bottleneck"), ("lora", "lora"), ("bitfit", "bitfit"), ("head", "head_only")):
        entry = find_state(read(place / "outputs" / name / "checkpoint_last.pt")["extra_state"])
        assert entry is not None
        assert entry["adapters"]["config"]["kind"] == kind
    assert (place / "outputs" / "lora_merged" / "model.safetensors").is_file()


@pytest.mark.parametrize("block", re.findall(r"^```\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL))
def test_a_block_of_the_readme_decodes_and_scores_what_it_has_made(block: str) -> None:
    commands = list(commands_in(block))
    made = {"train", "valid", "test"} if any(words[1:3] == ["manifest", "table"] for words in commands) else {"train"}
    for words in commands:
        after = dict(itertools.pairwise(words))
        if "--subsets" in words:
            made |= {name.replace("-", "_") for name in words[words.index("--subsets") + 1 : words.index("--out")]}
        if words[:2] == ["fairseq-parp", "train"]:
            recipe = OmegaConf.load(ROOT / "configs" / f"{after['--config-name']}.yaml")
            saved = OmegaConf.merge(recipe, OmegaConf.from_dotlist(words[4:]))
            assert {saved.dataset.get("train_subset", "train"), saved.dataset.valid_subset} <= made
        if words[0] == "fairseq-generate":
            assert after["--gen-subset"] in made
            assert Path(after["--path"]).parent == Path(saved.checkpoint.save_dir)
            result = f"{after['--results-path']}/generate-{after['--gen-subset']}.txt"
        if words[:2] == ["fairseq-parp", "score"]:
            assert words[2] == result
