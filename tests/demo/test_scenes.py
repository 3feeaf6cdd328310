"""The scenes of the grounded demo: what is drawn, what is said and when, and the demo's path with few updates."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from fairseq_parp import checkpoints, cli
from fairseq_parp.demo import drawing, grounded, scenes
from fairseq_parp.demo.speech import SAMPLE_RATE, Synthesiser, Voice
from fairseq_parp.manifests.alignments import read_alignment
from fairseq_parp.retrieval.labels import read_objects

SMALL = {"test": 6, "valid": 4, "train": 6}


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo with few scenes and updates, made by the real commands."""
    out = tmp_path_factory.mktemp("grounded") / "my demo"
    grounded.demo(out, seed=2, sizes=SMALL, updates=2)
    return out


def test_splits_share_neither_pairs_nor_voices_but_every_object() -> None:
    planned = scenes.plan(1)
    pairs = {split: [s.objects for s in planned if s.captions[0].split == split] for split in scenes.SIZES}
    assert {split: len(rows) for split, rows in pairs.items()} == scenes.SIZES
    assert all(set(pairs[one]).isdisjoint(pairs[other]) for one, other in combinations(pairs, 2))
    assert len(set(pairs["test"])) == scenes.SIZES["test"]
    assert {name for pair in pairs["train"] for name in pair} == set(scenes.OBJECTS)
    voices = {split: set[str]() for split in scenes.SIZES}
    for scene in planned:
        voices[scene.captions[0].split] |= {caption.voice.variant for caption in scene.captions}
    assert all(voices[one].isdisjoint(voices[other]) for one, other in combinations(voices, 2))
    assert scenes.plan(1) == planned != scenes.plan(2)


def test_every_object_has_its_own_emoji() -> None:
    drawn = {drawing._symbol(symbol).tobytes() for symbol in scenes.OBJECTS.values()}
    assert len(drawn) == len(scenes.OBJECTS)
    for symbol in scenes.OBJECTS.values():
        colours = np.asarray(drawing._symbol(symbol))
        assert len(np.unique(colours[colours[..., 3] == 255], axis=0)) > 3


def test_boxes_are_those_of_the_ink(tmp_path: Path) -> None:
    draw = random.Random(4)
    for number, pair in enumerate(list(combinations(scenes.OBJECTS.values(), 2))[:8]):
        boxes = drawing.draw_picture(pair, tmp_path / f"{number}.png", draw)
        ink = (np.asarray(Image.open(tmp_path / f"{number}.png")) < 250).any(2)
        assert ink.shape == (drawing.SIDE, drawing.SIDE)
        for left, top, right, bottom in (tuple(round(drawing.SIDE * edge) for edge in box) for box in boxes):
            inside = ink[top:bottom, left:right]
            assert inside.any(0)[[1, -2]].all()
            assert inside.any(1)[[1, -2]].all()
            ink[top:bottom, left:right] = False
        assert not ink.any()


def test_times_of_words_are_those_of_their_sound() -> None:
    audio, words = Synthesiser().say("banana, guitar", Voice("en-us", "m1"))
    sounds = np.abs(audio) > 0.02 * np.abs(audio).max()
    gaps = np.split(np.flatnonzero(sounds), np.flatnonzero(np.diff(np.flatnonzero(sounds)) > 0.1 * SAMPLE_RATE) + 1)
    assert [word.text for word in words] == ["banana", "guitar"]
    assert len(gaps) == 2
    for word, sound in zip(words, gaps, strict=True):
        assert word.start == pytest.approx(sound[0] / SAMPLE_RATE, abs=0.05)
        assert word.end > sound[-1] / SAMPLE_RATE - 0.05
    assert words[-1].end <= len(audio) / SAMPLE_RATE


def test_every_word_of_a_caption_has_a_time_and_every_object_a_box(demonstrated: Path) -> None:
    made = demonstrated / "scenes"
    lines = (made / "transcripts.tsv").read_text().splitlines()
    table = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert len(table) == 6 + 4 + 2 * 6
    said, shown = read_alignment(made / "words.ctm"), read_objects(made / "objects.tsv")
    assert len(said) == len(table)
    for row in table:
        own = said[Path(row["path"]).stem]
        seconds = soundfile.info(made / row["path"]).duration
        assert all(0 <= word.start < word.end <= seconds + 1e-3 for word in own)
        assert all(word.end <= after.start + 1e-3 for word, after in pairwise(own))
        named = row["image"].removesuffix(".png").split("-")[1:]
        assert sorted(word.word for word in own if word.word in named) == sorted(named)
        assert [word.lower() for word in row["text"].split() if word.lower() in named] == [
            word.word for word in own if word.word in named
        ]
        assert sorted(each.label for each in shown[row["image"]]) == sorted(named)
        assert (made / "pictures" / row["image"]).is_file()


def test_the_demo_ends_with_recall_of_the_gallery_and_a_contact_sheet(demonstrated: Path) -> None:
    assert (demonstrated / "data" / "test.img").read_text().splitlines() == [
        scene.image for scene in scenes.plan(2, SMALL) if scene.captions[0].split == "test"
    ]
    shown = grounded._table(demonstrated / "logs" / "retrieval.log").splitlines()
    assert shown[0] == "6 captions, 6 pictures"
    assert sum(line.startswith(("speech to image", "image to speech")) for line in shown) == 6
    with Image.open(demonstrated / "sheet.png") as sheet:
        assert min(sheet.size) > 300
    assert len((demonstrated / "rankings.tsv").read_text().splitlines()) == 1 + 6 + 6
    assert "CC BY-SA 4.0" in (demonstrated / "scenes" / "pictures" / "ATTRIBUTION.txt").read_text()
    assert checkpoints.read(demonstrated / "model" / "checkpoint_last.pt")["cfg"]["common"]["seed"] == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--seed", "2"], "--seed=2: goes with --grounded"), (["--grounded", "--seed", "-1"], "0 or more")],
)
def test_a_seed_that_is_not_due_is_refused(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
