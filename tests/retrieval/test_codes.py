"""The use of a codebook beside counts by hand, and ``fairseq-parp codes`` on a real training."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf

from fairseq_parp import checkpoints, cli
from fairseq_parp.grounded.code_matching import code_scores
from fairseq_parp.grounded.code_use import code_use
from fairseq_parp.retrieval.embedding import embed_split
from fairseq_parp.retrieval.loading import load_grounded
from fairseq_parp.retrieval.one_code import pictures_of


def test_uses_that_a_reader_can_count() -> None:
    found = code_use(torch.tensor([4, 4, 0, 0]), torch.tensor([0, 10, 10, 0]))
    assert (found.audio, found.image, found.used, found.shared) == (2, 2, 3, 1)
    assert (found.shared_uses, found.divergence) == (pytest.approx(50), pytest.approx(0.5))
    assert found.audio_perplexity == found.image_perplexity == pytest.approx(2)


@pytest.mark.parametrize(("rare", "shared"), [(19, 0), (20, 2)])
def test_a_code_is_shared_from_a_fifth_of_its_uses_on(rare: int, shared: int) -> None:
    found = code_use(torch.tensor([80, 20]), torch.tensor([rare, 100 - rare]))
    assert found.shared == shared


def test_divergence_is_that_of_its_definition() -> None:
    one, other = torch.tensor([5, 3, 2]), torch.tensor([1, 1, 8])
    mean = [(a / 10 + b / 10) / 2 for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    parts = [
        sum(n / 10 * math.log2(n / 10 / m) for n, m in zip(side.tolist(), mean, strict=True)) for side in (one, other)
    ]
    assert code_use(one, other).divergence == pytest.approx(sum(parts) / 2)
    assert code_use(one, 7 * one).divergence == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    recipe: Any = OmegaConf.create(small.recipe(folder))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 3
    recipe.criterion.code_weight = 0.5
    recipe.model.update(codes=6, code_width=8, code_warm_up=1)
    train(OmegaConf.to_container(recipe), folder / "run", method="dense")  # type: ignore[arg-type]
    state = torch.load(folder / "run/checkpoint_last.pt", weights_only=False)
    state["model"]["grounded.codes.book.seeded"] = torch.tensor(False)
    torch.save(state, folder / "unseeded.pt")
    return folder


def test_the_command_counts_the_codes_and_ranks_by_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = [str(folder / "run/checkpoint_last.pt"), "--data", str(folder / "data"), "--split", "valid"]
    assert cli.main(["codes", *at, "--json", "--plot", str(folder / "codes.png")]) == 0
    shown = json.loads(capsys.readouterr().out)
    embedded = embed_split(load_grounded(at[0]), folder / "data", "valid")
    book = checkpoints.read(at[0])["model"]["grounded.codes.book.embedding"]
    assert shown["codes"] == len(book) == len(shown["uses"]["audio"])
    assert sum(shown["uses"]["image"]) == small.PICTURES * small.REGIONS
    assert sum(shown["uses"]["audio"]) == sum(len(each.nearest) for each in embedded.caption_codes)
    usages = [torch.stack([each.usage for each in side]) for side in (embedded.caption_codes, embedded.image_codes)]
    scores = code_scores(*usages)
    own = scores.gather(1, embedded.owners[:, None])
    hits = ((scores >= own).sum(1) <= 5).double().mean()
    by_codes = {(each["way"], each["k"]): each["value"] for each in shown["recall"]}
    assert by_codes["s2i", 5] == pytest.approx(100 * float(hits))
    assert (folder / "codes.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["codes", *at]) == 0
    text = capsys.readouterr().out
    assert f"6 codes, {shown['used']} used; {shown['shared']} shared" in text
    assert "speech to image" in text


def label_files(folder: Path) -> tuple[str, str]:
    """Words of two captions, and two objects of which the smaller lies within the larger."""
    lines = ["valid-0 1 0.0 0.2 dog", "valid-0 1 0.2 0.2 cat", "valid-3 1 0.0 0.4 dog"]
    (folder / "words.ctm").write_text("\n".join(lines) + "\n")
    head, boxes = "image\tobject\tleft\ttop\tright\tbottom\n", "picture1\tsky\t0\t0\t1\t1\npicture1\tdog\t0\t0\t.6\t1\n"
    (folder / "objects.tsv").write_text(f"{head}{boxes}picture4\tsky\t0\t0\t1\t1\n")
    return str(folder / "words.ctm"), str(folder / "objects.tsv")


def test_words_and_objects_of_the_codes_are_those_counted_one_by_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, objects = label_files(folder)
    at = [str(folder / "run/checkpoint_last.pt"), "--data", str(folder / "data"), "--split", "valid"]
    given = [*at, "--alignment", words, "--objects", objects]
    assert cli.main(["codes", *given, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    embedded = embed_split(load_grounded(at[0]), folder / "data", "valid")
    said: dict[int, Counter[str]] = {}
    for row, spoken in ((0, {(0.0, 0.2): "dog", (0.2, 0.4): "cat"}), (3, {(0.0, 0.4): "dog"})):
        used = embedded.caption_codes[row].nearest.tolist()
        frames = int((folder / "data/valid.tsv").read_text().splitlines()[row + 1].split("\t")[1])
        seconds = min(frames, 14000) / 16000
        for frame, code in enumerate(used):
            middle = (frame + 0.5) * seconds / len(used)
            for (start, end), word in spoken.items():
                if start <= middle < end:
                    said.setdefault(code, Counter())[word] += 1
    assert shown["words"]["features"] == sum(count.total() for count in said.values()) > 0
    most = sum(max(count.values()) for count in said.values())
    assert shown["words"]["purity"] == pytest.approx(100 * most / shown["words"]["features"])
    assert embedded.boxes is not None
    seen = Counter()
    for row, name in enumerate(embedded.ids):
        across = (embedded.boxes[row, :, 0] + embedded.boxes[row, :, 2]) / 2
        for code, at_x in zip(embedded.image_codes[row].nearest.tolist(), across.tolist(), strict=True):
            label = {"picture1": "dog" if at_x <= 0.6 else "sky", "picture4": "sky"}.get(name)
            seen[code, label] += label is not None
    assert shown["objects"]["features"] == 2 * small.REGIONS == seen.total()
    for code, (label, _) in shown["objects"]["best"].items():
        assert seen[int(code), label] == max(seen[int(code), "dog"], seen[int(code), "sky"])
    assert cli.main(["codes", *given]) == 0
    text = capsys.readouterr().out
    assert "code to word" in text
    assert f"{shown['same_name']} of {shown['both_names']} codes" in text


def test_one_code_is_listed_and_drawn_with_its_words_and_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    words, objects = label_files(folder)
    at = [str(folder / "run/checkpoint_last.pt"), "--data", str(folder / "data"), "--split", "valid"]
    embedded = embed_split(load_grounded(at[0]), folder / "data", "valid")
    code = int(embedded.image_codes[1].nearest[0])
    (folder / "pictures").mkdir(exist_ok=True)
    for name in embedded.ids:
        Image.new("RGB", (30, 20), (0, 90, 200)).save(folder / "pictures" / name, format="png")
    plot = folder / "code.png"
    given = [*at, "--code", str(code), "--alignment", words, "--objects", objects]
    assert cli.main(["codes", *given, "--plot", str(plot), "--pictures", str(folder / "pictures")]) == 0
    assert f"code {code}: " in capsys.readouterr().out
    pixels = np.asarray(Image.open(plot).convert("RGB")).reshape(-1, 3)
    assert (pixels == (0, 90, 200)).all(1).sum() > 1000
    frame = np.array([0, 158, 115])
    assert (np.abs(pixels - frame) < 12).all(1).any()
    assert cli.main(["codes", *given, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["code"] == code
    assert sum(shown["objects"].values()) > 0
    rows = pictures_of(embedded, code)
    parts = [float((embedded.image_codes[row].nearest == code).double().mean()) for row in rows]
    assert parts == sorted(parts, reverse=True)
    assert min(parts) > 0


def test_bad_labels_end_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, objects = label_files(folder)
    (folder / "other.ctm").write_text("somebody 1 0 1 dog\n")
    head = "image\tobject\tleft\ttop\tright\tbottom\n"
    tables = {"pixels": "picture1\tdog\t0\t0\t60\t90\n", "others": "x\tdog\t0\t0\t1\t1\n", "none": ""}
    for name, rows in tables.items():
        (folder / f"{name}.tsv").write_text(head + rows)
    (folder / "short.tsv").write_text("image\tobject\n")
    cases = [
        (["--alignment", str(folder / "other.ctm")], "other.ctm: has no word of a caption of this split"),
        (["--alignment", str(folder / "missing.ctm")], "missing.ctm: no such file"),
        (["--objects", str(folder / "pixels.tsv")], "pixels.tsv:2': must have a box within the picture"),
        (["--objects", str(folder / "others.tsv")], "others.tsv: has no object in which a region"),
        (["--objects", str(folder / "none.tsv")], "has no object"),
        (["--objects", str(folder / "short.tsv")], "lacks the column(s) left, top, right, bottom"),
        (["--objects", str(folder / "missing.tsv")], "no such file"),
        (["--code", "6", "--objects", objects], "--code=6: must be 0 to 5"),
        (["--code", "2"], "--code=2: needs --alignment or --objects"),
        (["--code", "2", "--alignment", words, "--plot", "x.png"], "--pictures=None: goes with --code N and --plot"),
        (["--pictures", "x"], "--pictures='x': goes with --code N"),
    ]
    at = [str(folder / "run/checkpoint_last.pt"), "--data", str(folder / "data"), "--split", "valid"]
    for arguments, named in cases:
        assert cli.main(["codes", *at, *arguments]) == 2
        line = capsys.readouterr().err
        assert named in line
        assert line.count("\n") == 1


def test_label_files_are_read_before_the_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--alignment", "--objects"):
        assert cli.main(["codes", "missing.pt", "--data", str(folder / "data"), option, "missing.labels"]) == 2
        assert "missing.labels: no such file" in capsys.readouterr().err.replace("'", "")


def test_a_checkpoint_without_seeded_codes_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--data", str(folder / "data"), "--split", "valid"]
    assert cli.main(["codes", str(folder / "unseeded.pt"), *at]) == 2
    line = capsys.readouterr().err
    assert "has no codes: train with model.codes above 0" in line
    assert line.count("\n") == 1
