"""Real fairseq-generate: every utterance, the checkpoint's own labels, no pretrained file, nothing pruned."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import ngram_oracle as ngram
import numpy as np
import pytest
import soundfile
import tiny
import torch

from fairseq_parp.mask_files.report import report
from fairseq_parp.scoring import score_file
from fairseq_parp.transcription import loading


def hypotheses(results: Path) -> dict[int, list[tuple[float, str]]]:
    found: dict[int, list[tuple[float, str]]] = {}
    for line in (results / "generate-test.txt").read_text().splitlines():
        match = re.match(r"H-(\d+)\t(\S+)\t(.*)", line)
        if match:
            found.setdefault(int(match[1]), []).append((float(match[2]), match[3]))
    return found


@pytest.mark.parametrize("size", [1, 5, 13, 36])
def test_every_utterance_is_decoded_at_default_settings(
    commands: tiny.Commands, finetuned: Path, tmp_path: Path, size: int
) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"test": size}, (0.1, 0.2))
    commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path)
    assert sorted(hypotheses(tmp_path)) == list(range(size))


@pytest.mark.parametrize("options", [["--beam", "1"], ["--beam", "4", "--nbest", "3"]], ids=["greedy", "beam"])
def test_positional_scores_sum_to_the_score(
    commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path, options: list[str]
) -> None:
    commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path, "--labels", "ltr", *options)
    text = (tmp_path / "generate-test.txt").read_text()
    scores = [float(line.split("\t")[1]) for line in text.splitlines() if line.startswith("H-")]
    positional = [
        [float(x) for x in line.split("\t")[1].split()] for line in text.splitlines() if line.startswith("P-")
    ]
    assert len(scores) == len(positional) == 5 * (3 if "--nbest" in options else 1)
    for score, parts in zip(scores, positional, strict=True):
        assert math.isclose(score, sum(parts), abs_tol=1e-3 * max(1, len(parts)))


@ngram.NEEDS_FLASHLIGHT
def test_a_language_model_finds_its_words_alone(
    commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path
) -> None:
    words = ["A", "BC", "DDA"]
    one = [f"-1\t{word}" for word in ["<s>", "</s>", "<unk>", *words]]
    counts = ["\\data\\", "ngram 1=6", "ngram 2=1", ""]
    arpa = tmp_path / "lm.arpa"
    arpa.write_text("\n".join([*counts, "\\1-grams:", *one, "", "\\2-grams:", "-1\t<s> A", "", "\\end\\", ""]))
    checkpoint = finetuned / "checkpoint_last.pt"
    options = ["--kenlm-model", str(arpa), "--kenlm-weight", "0.5", "--word-score", "9", "--nbest", "2"]
    commands.generate(data, checkpoint, tmp_path, "--beam", "20", *options)
    found = hypotheses(tmp_path)
    assert [len(best) for best in found.values()] == [2] * 5
    said = {word for best in found.values() for _, line in best for word in line.split()}
    assert said
    assert said <= set(words)
    done = commands.generate(data, checkpoint, tmp_path, "--beam", "1", "--kenlm-model", str(arpa), expect=1)
    assert done.last_line == "fairseq_parp: beam=1: a language model needs a beam, 2 or more; 50 is usual"


def test_greedy_equals_the_models_best_path(
    commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path
) -> None:
    import soundfile

    commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path, "--beam", "1")
    loaded = loading.load_finetuned(finetuned / "checkpoint_last.pt")
    for number in range(5):
        audio, _ = soundfile.read(data / f"test-{number}.flac", dtype="float32")
        with torch.no_grad():
            output = loaded.model(source=torch.from_numpy(audio)[None], padding_mask=None)
            probabilities = loaded.model.get_normalized_probs(output, log_probs=True)[:, 0]
        best = probabilities.argmax(-1).unique_consecutive()
        text = loaded.dictionary.string(best[best != 0], "letter")
        ((score, line),) = hypotheses(tmp_path)[number]
        assert line == text
        assert math.isclose(score, probabilities.max(-1).values.sum().item() / math.log(2), rel_tol=1e-4)


def test_decoding_needs_neither_the_pretrained_file_nor_the_mask_nor_the_dictionary(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "pretrained.pt"
    shutil.copy(pretrained, copied)
    keys = ["optimization.max_update=4", "+task.pruning.allocation=layer"]
    commands.train(tmp_path, tiny.training(tmp_path / "run", data, copied, *keys))
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["pruning"]["mask"] = str(tmp_path / "gone.safetensors")
    torch.save(state, checkpoint)
    copied.unlink()
    before = report(checkpoint).prunable
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("test.tsv", "test.ltr"):
        shutil.copy(data / name, bare)
    commands.generate(bare, checkpoint, tmp_path)
    assert len(hypotheses(tmp_path)) == 5
    assert report(checkpoint).prunable == before
    assert loading.load_finetuned(checkpoint).labels == "ltr"


def test_scores_of_the_results(commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path) -> None:
    commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path, "--beam", "1")
    text = (tmp_path / "generate-test.txt").read_text()
    printed = re.search(r"Generate test with beam=1: WER: ([\d.]+)", text)
    assert printed
    assert math.isclose(score_file(tmp_path / "generate-test.txt").words.percent, float(printed[1]), abs_tol=0.01)


def test_an_old_style_checkpoint_is_finetuned(commands: tiny.Commands, data: Path, tmp_path: Path) -> None:
    """The first wav2vec 2.0 releases hold an ``argparse.Namespace`` instead of a config."""
    old = tiny.make_pretrained(tmp_path / "old.pt", old_style=True)
    commands.train(tmp_path, tiny.training(tmp_path / "run", data, old, "optimization.max_update=4"))
    counted = report(tmp_path / "run" / "checkpoint_last.pt").prunable
    assert counted.zeros == counted.size // 2


def test_a_frozen_start_is_warned_of(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    keys = ["optimization.max_update=4", "model.freeze_finetune_updates=3"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert "model.freeze_finetune_updates=3: the Transformer does not train for 3 updates" in done.out


def test_audio_of_less_than_a_frame_is_one_line(
    commands: tiny.Commands, finetuned: Path, pretrained: Path, tmp_path: Path
) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 9, "valid": 3, "test": 3})
    for split in ("valid", "test"):
        soundfile.write(data / f"{split}-1.flac", np.zeros(399), 16000)
        rows = (data / f"{split}.tsv").read_text().splitlines()
        rows[2] = f"{split}-1.flac\t399"
        (data / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    why = "-1.flac: too short: 399 samples, the model needs 400; leave it out"
    done = commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path, expect=1)
    assert done.last_line == f"fairseq_parp: {data}/test.tsv:3: test{why}"
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, pretrained), expect=1)
    assert done.last_line == f"fairseq_parp: {data}/valid.tsv:3: valid{why}"


def test_phones_are_not_joined_to_one_symbol(commands: tiny.Commands, pretrained: Path, tmp_path: Path) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 9, "valid": 3, "test": 3})
    (data / "dict.ltr.txt").write_text("".join(f"{symbol} 10\n" for symbol in tiny.LETTERS))
    for split in ("train", "valid", "test"):
        labels = data / f"{split}.ltr"
        labels.write_text(labels.read_text().replace(" |", ""))
    keys = ["optimization.max_update=2", "checkpoint.save_interval_updates=2"]
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, pretrained, *keys))
    assert "wer counts labels, as uer does: they have no | for criterion.post_process=letter" in done.out
    valid = json.loads(re.findall(r"\{.*valid_wer.*\}", done.out)[-1])
    assert valid["valid_wer"] == valid["valid_uer"]
    done = commands.generate(data, tmp_path / "run" / "checkpoint_last.pt", tmp_path, expect=1)
    assert "post_process='letter': the labels have no word boundary |" in done.last_line


@ngram.NEEDS_FLASHLIGHT
@pytest.mark.parametrize("old", [False, True])
def test_a_recipe_may_name_a_language_model_for_validation(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, old: bool
) -> None:
    lm, lexicon = ngram.write_arpa(tmp_path / "lm.arpa"), tmp_path / "lexicon.txt"
    lexicon.write_text("AB\n")
    named = [f"+criterion.wer_kenlm_model={lm}", f"+criterion.wer_lexicon={lexicon}", "+criterion.wer_word_score=50"]
    args = f"+criterion.wer_args=\"('{lm}','{lexicon}',2.0,50.0)\""
    keys = ["optimization.max_update=2", "checkpoint.save_interval_updates=2", *([args] if old else named)]
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, pretrained, *keys))
    valid = json.loads(re.findall(r"\{.*valid_wer.*\}", done.out)[-1])
    assert float(valid["valid_wer"]) > float(valid["valid_raw_wer"])  # a word score of 50 finds many more words
    if old:
        done = commands.train(
            tmp_path, tiny.training(tmp_path / "run", data, pretrained, "+criterion.wer_args=lm"), expect=1
        )
        assert "criterion.wer_args='lm': must be a tuple" in done.last_line
