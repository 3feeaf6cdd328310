import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fairseq_parp.demo import corpus
from fairseq_parp.demo.sentences import sentences

SMALL = {"test": 4, "valid": 2, "train": 8}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("speech") for _ in range(2)]
    for folder in folders:
        corpus.write(folder, corpus.plan(3, SMALL), 3)
    return folders


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_makes_the_same_bytes(made: list[Path]) -> None:
    first, second = map(digests, made)
    assert first == second
    assert len(first) == 14 + 1


def test_audio_is_16_khz_mono_and_sounds(made: list[Path]) -> None:
    for file in made[0].rglob("*.flac"):
        samples, rate = soundfile.read(file)
        assert rate == 16_000
        assert samples.ndim == 1
        assert 1 < len(samples) / rate < 6
        assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.1


def test_the_table_names_every_file(made: list[Path]) -> None:
    head, *rows = [line.split("\t") for line in (made[0] / "transcripts.tsv").read_text().splitlines()]
    assert head == ["path", "text", "split", "speaker"]
    assert sorted(row[0] for row in rows) == sorted(str(file.relative_to(made[0])) for file in made[0].rglob("*.flac"))
    assert all(set(row[1]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ ") for row in rows)


def test_splits_share_neither_sentences_nor_variants() -> None:
    rows = corpus.plan(1, corpus.UTTERANCES)
    assert len({row.text for row in rows}) == len(rows)
    variants = [{row.voice.variant for row in rows if row.split == split} for split in corpus.VARIANTS]
    assert all(variants)
    assert sum(map(len, variants)) == len(set.union(*variants))


def test_a_longer_training_split_leaves_the_others_alone() -> None:
    short, long = (corpus.plan(1, {**SMALL, "train": count}) for count in (8, 80))
    assert short[:6] == long[:6]


def test_the_vocabulary_is_real_and_met_in_training() -> None:
    rows = corpus.plan(1, corpus.UTTERANCES)
    words = {
        split: {word for row in rows if row.split == split for word in row.text.split()} for split in corpus.VARIANTS
    }
    assert len(words["train"]) > 250
    assert len(words["test"] & words["train"]) > 0.8 * len(words["test"])


def test_sentences_are_new() -> None:
    old = sentences(50, random.Random(1))
    assert not set(old) & set(sentences(50, random.Random(1), unlike=old))
