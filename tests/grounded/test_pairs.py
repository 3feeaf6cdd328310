"""Every kind of pair trains with one criterion: unseen pairs are found above chance, things in time and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pairs
import pytest
import torch
from comparing import differences
from in_process import state_of, train

from fairseq_parp import checkpoints, cli
from fairseq_parp.errors import OneLineExit
from fairseq_parp.grounded.text import TextBranch

KINDS = {"text-pictures": 200, "text-clips": 300, "speech-pictures": 300, "speech-clips": 300}
"""Updates by captions and pictures."""

BY_CODES_ALONE = ("speech-pictures",)
"""Kinds whose embeddings are not above chance on unseen pairs: 50 % (30 to 70) and 40 % (20 to 60), chance 25 %."""


def shown_by(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert cli.main([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    "kind", [kind if kind.startswith("text-p") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_unseen_pairs_are_found_above_chance_and_things_are_localised(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions, pictures = kind.split("-")
    data = pairs.make(tmp_path / "data", captions, pictures)
    train(pairs.recipe(data, captions, KINDS[kind]), tmp_path / "run", method="dense")
    checkpoint = tmp_path / "run/checkpoint_last.pt"
    at = [checkpoint, "--data", data, "--split", "test"]
    for verb in ("codes",) if kind in BY_CODES_ALONE else ("codes", "retrieve"):
        recall = {(each["way"], each["k"]): each for each in shown_by(capsys, verb, *at)["recall"]}
        assert recall["s2i", 5]["low"] > recall["s2i", 5]["chance"] == 25, verb
        assert recall["i2s", 5]["low"] > recall["i2s", 5]["chance"], verb
    times = [] if captions == "text" else ["--alignment", data / "test.ctm"]
    objects, images = ["--objects", data / "objects"], ["--images", data / "images.safetensors"]
    game = shown_by(capsys, "localise", checkpoint, *at[1:], *images, *objects, *times)
    assert game["words"] == 40
    assert game["low"] > game["chance"]
    named = shown_by(capsys, "codes", *at, *objects, *times)
    for side in ("words", "objects"):
        assert named[side]["purity"] > named[side]["shuffled"] + 10


def test_what_is_beyond_a_caption_changes_no_embedding_and_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(1)
    branch = TextBranch(9, 16, 2, 2, 0.0, 7)
    words = torch.tensor([[2, 3, 4, 5], [6, 7, 0, 0]])
    together = branch(words, words == 0)
    torch.testing.assert_close(together[1:], branch(words[1:, :2], None), rtol=1e-4, atol=1e-5)
    together.square().sum().backward()
    assert not [name for name, each in branch.named_parameters() if each.grad is None or not each.grad.any()]
    assert not branch.words.weight.grad[0].any()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The recipe of a short training on written captions of clips, and its folder."""
    folder = tmp_path_factory.mktemp("written")
    recipe = pairs.recipe(pairs.make(folder / "data", "text", "clips", 1), "text", 8)
    recipe["checkpoint"]["save_interval_updates"] = 3
    train(recipe, folder / "run", method="parp", sparsity=0.5, interval=3)
    return recipe, folder


def changed(recipe: dict[str, Any], **groups: dict[str, Any]) -> dict[str, Any]:
    return recipe | {name: recipe[name] | keys for name, keys in groups.items()}


def test_a_training_on_texts_keeps_its_words_and_resumes_to_the_last_bit(
    written: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, folder = written
    train(recipe, tmp_path, stop_after=5, method="parp", sparsity=0.5, interval=3)
    train(recipe, tmp_path, method="parp", sparsity=0.5, interval=3)
    straight, broken = (state_of(each / "checkpoint_last.pt") for each in (folder / "run", tmp_path))
    assert differences(straight, broken) == []
    mask = straight[1]["pruning"]["mask"]
    assert {name.split(".")[1] for name in mask} == {"text", "image"}
    assert (
        sum(int((straight[0][name] == 0).sum()) for name in mask)
        == sum(straight[0][name].numel() for name in mask) // 2
    )
    words = checkpoints.read(tmp_path / "checkpoint_last.pt")["task_state"]["words"]
    assert words[0] == "a"
    assert set(pairs.THINGS) < set(words)
    assert len(words) + 2 == len(straight[0]["grounded.text.words.weight"])


def test_a_word_of_a_text_is_found_in_a_clip_by_its_name(
    written: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = written
    images = ["--images", str(folder / "data/images.safetensors")]
    at = ["localise", str(folder / "run/checkpoint_last.pt"), "a dog and a cat", "test0", *images]
    assert shown_by(capsys, *at, "--word", "Dog")["segments"] == [[1, 2]]
    assert shown_by(capsys, *at, "--word", "a")["segments"] == [[0, 1], [3, 4]]
    twice = shown_by(capsys, *at, "--start", 3, "--end", 5)
    assert twice["boxes"][0] == pytest.approx([0, 0, 1 / pairs.FRAMES, 1])
    cases = [
        (["--word", "fish"], "--word='fish': is not in 'a dog and a cat'; its words: a, dog, and, cat"),
        (["--word", "dog", "--alignment", "x.ctm"], "--alignment='x.ctm': is for spoken captions alone"),
        (["--start", "4", "--end", "9"], "start and end='4 to 9': must be a segment within the 5.00 words"),
    ]
    for arguments, named in cases:
        assert cli.main([*at, *arguments]) == 2
        line = capsys.readouterr().err
        assert named in line
        assert line.count("\n") == 1
    assert cli.main(["export", at[1], "--to", "fairseq", "-o", str(folder / "exported")]) == 2
    assert "holds the model grounded_text, which has no encoder of speech" in capsys.readouterr().err
    codes = ["codes", at[1], "--data", str(folder / "data"), "--split", "valid"]
    (folder / "x.ctm").write_text("test0 1 0 1 dog\n")
    assert cli.main([*codes, "--alignment", str(folder / "x.ctm")]) == 2
    assert "is for spoken captions alone" in capsys.readouterr().err
    assert cli.main(codes) == 0
    assert "text to image" in capsys.readouterr().out


BAD: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "a loss of speech": ({"criterion": {"alpha": 0.5}}, "criterion.alpha=0.5: must be 1: text has no loss"),
    "rare words alone": ({"task": {"least_word_count": 10**6}}, "task.least_word_count=1000000: no word of"),
    "another number of words": ({"model": {"words": 3}}, "model.words=3: "),
    "no word of a caption": ({"model": {"text_longest": 0}}, "model.text_longest=0: must be 1 word or more"),
    "no count of words": ({"task": {"least_word_count": 0}}, "task.least_word_count=0: must be 1 or more"),
    "no layers of text": ({"model": {"text_layers": 0}}, "model.text_layers=0: must be 1 or more"),
    "heads that do not fit": (
        {"model": {"grounded_heads": 3}},
        "model.grounded_heads=3: must be 1 or more, and divide",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_keys_end_in_one_line(case: str, written: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    keys, named = BAD[case]
    with pytest.raises(OneLineExit) as stopped:
        train(changed(written[0], **keys), tmp_path, method="dense")
    assert named in str(stopped.value)
    assert not list(tmp_path.glob("*.pt"))


FILES = {
    "no texts": ("train.wrd", None, "train.wrd: does not exist: the folder has no written captions"),
    "a text without a word": ("valid.wrd", "a dog\n...\n" + "a cat\n" * 6, "valid.wrd:2: has no word"),
    "fewer pictures": ("train.img", "train0\n", "train.img: has 1 lines; train.wrd has 42 captions"),
    "no pictures": ("train.img", None, "train.img: does not exist: the folder has captions alone"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_files_end_in_one_line(case: str, written: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    name, text, named = FILES[case]
    data = pairs.make(tmp_path / "data", "text", "clips", 1)
    (data / name).unlink()
    if text is not None:
        (data / name).write_text(text)
    with pytest.raises(OneLineExit) as stopped:
        train(changed(written[0], task={"data": str(data)}), tmp_path / "run", method="dense")
    assert named in str(stopped.value)


def test_a_run_does_not_go_on_with_other_words(written: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    recipe, folder = written
    start = str(folder / "run/checkpoint_last.pt")
    other = changed(recipe, checkpoint={"finetune_from_model": start}, task={"least_word_count": 10})
    with pytest.raises(OneLineExit, match="another dictionary than"):
        train(other, tmp_path, method="dense")
