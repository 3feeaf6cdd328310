"""The generator behind fairseq-generate, with a real Dictionary and a model whose output is given."""

from __future__ import annotations

import math
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from ctc_oracle import random_log_probs
from fairseq.data import Dictionary
from fairseq.dataclass.configs import GenerationConfig
from fairseq.utils import post_process_prediction
from torch import Tensor, nn

from fairseq_parp.decoding import CTCGenerator, GreedyDecoder, build_generator
from fairseq_parp.decoding.compiled import fastest_search
from fairseq_parp.decoding.encoder import DecodingError
from fairseq_parp.decoding.options import NOT_FOR_CTC
from fairseq_parp.errors import ConfigError

FRAMES = [6, 4]


class GivenOutput(nn.Module):
    """Stands in for wav2vec_ctc: the log-probabilities (B, T, C) are given, padding comes from ``frames``."""

    def __init__(self, log_probs: Tensor, frames: list[int] | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.log_probs, self.frames = log_probs, frames
        self.seen: dict[str, Any] = {}

    def forward(self, source: Tensor, padding_mask: Tensor | None) -> dict[str, Any]:
        assert padding_mask is None
        self.seen = {"dtype": source.dtype, "training": self.training, "grad": torch.is_grad_enabled()}
        padding = None
        if self.frames is not None:
            padding = torch.arange(self.log_probs.size(1)) >= torch.tensor(self.frames)[:, None]
        return {"encoder_out": self.log_probs.transpose(0, 1), "padding_mask": padding}

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        assert log_probs
        out: Tensor = net_output["encoder_out"]
        return out


@pytest.fixture
def dictionary() -> Dictionary:
    letters = Dictionary()
    for letter in "|AB":
        letters.add_symbol(letter)
    return letters


@pytest.fixture
def sample() -> dict[str, Any]:
    net_input = {"source": torch.zeros(2, 3000), "padding_mask": None, "prev_output_tokens": torch.zeros(2, 1)}
    return {"id": torch.tensor([0, 1]), "net_input": net_input}


def spell(dictionary: Dictionary, *texts: str) -> Tensor:
    """Log-probabilities (B, T, C) in which ``-`` is the blank and each frame's symbol has probability 0.9."""
    rows = [[dictionary.bos() if letter == "-" else dictionary.index(letter) for letter in text] for text in texts]
    hot = nn.functional.one_hot(torch.tensor(rows), len(dictionary))
    return torch.where(hot > 0, 0.9, 0.1 / (len(dictionary) - 1)).log()


def greedy(dictionary: Dictionary) -> CTCGenerator:
    return build_generator(dictionary, Namespace(beam=1))


@pytest.mark.parametrize("beam", [1, 5])
def test_hypotheses_print_as_fairseq_generate_prints_them(
    dictionary: Dictionary, sample: dict[str, Any], beam: int
) -> None:
    generator = build_generator(dictionary, GenerationConfig(beam=beam, print_alignment="hard"))
    hypotheses = generator.generate([GivenOutput(spell(dictionary, "-AA-A|", "----BB"), [6, 4])], sample)
    texts = []
    for hypothesis in (best[0] for best in hypotheses):
        # Line for line what fairseq_cli.generate does with a hypothesis.
        _, text, alignment = post_process_prediction(
            hypo_tokens=hypothesis["tokens"].int().cpu(),
            src_str="",
            alignment=hypothesis["alignment"],
            align_dict=None,
            tgt_dict=dictionary,
            remove_bpe=None,
            extra_symbols_to_ignore=generator.symbols_to_strip_from_output,
        )
        score = hypothesis["score"] / math.log(2)
        positional = hypothesis["positional_scores"].div_(math.log(2)).tolist()
        pairs = " ".join([f"{src_idx}-{tgt_idx}" for src_idx, tgt_idx in alignment])
        texts.append((text, f"{score}", " ".join(f"{x:.4f}" for x in positional), pairs))
        assert positional == [] or sum(positional) == pytest.approx(score)
    (words, score_text, positional_text, pairs), empty = texts
    assert (words, pairs, len(positional_text.split())) == ("A A |", "1-0 4-1 5-2", 3)
    assert float(score_text) < 0
    assert empty[0] == empty[2] == empty[3] == ""
    assert float(empty[1]) < 0


def test_the_references_keep_all_their_symbols(dictionary: Dictionary) -> None:
    stripped = greedy(dictionary).symbols_to_strip_from_output
    target = dictionary.encode_line("A | B | Q", append_eos=False, add_if_not_exist=False)
    assert dictionary.string(target, extra_symbols_to_ignore=stripped) == "A | B | <unk>"


def test_padded_frames_are_not_decoded(dictionary: Dictionary, sample: dict[str, Any]) -> None:
    log_probs = spell(dictionary, "A-BAAA", "A-BAAA")
    shown = greedy(dictionary).generate([GivenOutput(log_probs, FRAMES)], sample)
    assert [dictionary.string(best[0]["tokens"]) for best in shown] == ["A B A", "A B A"]
    shown = greedy(dictionary).generate([GivenOutput(log_probs, [3, 1])], sample)
    assert [dictionary.string(best[0]["tokens"]) for best in shown] == ["A B", "A"]


def test_the_model_runs_in_evaluation_mode_in_its_own_precision_without_gradients(
    dictionary: Dictionary, sample: dict[str, Any]
) -> None:
    model = GivenOutput(spell(dictionary, "AB", "BA")).train().half()
    model.log_probs = model.log_probs.half()
    best = greedy(dictionary).generate([model], sample)
    assert model.seen == {"dtype": torch.float16, "training": False, "grad": False}
    assert best[0][0]["positional_scores"].dtype == torch.float64


def test_an_ensemble_averages_probabilities(dictionary: Dictionary, sample: dict[str, Any]) -> None:
    one, two = (random_log_probs(seed, 2, 6, len(dictionary)).float() for seed in (1, 2))
    mean = ((one.exp() + two.exp()) / 2).log()
    together = greedy(dictionary).generate([GivenOutput(one, FRAMES), GivenOutput(two, FRAMES)], sample)
    alone = greedy(dictionary).generate([GivenOutput(mean, FRAMES)], sample)
    assert [best[0]["score"] for best in together] == pytest.approx([best[0]["score"] for best in alone])
    assert [best[0]["tokens"].tolist() for best in together] == [best[0]["tokens"].tolist() for best in alone]


def test_models_that_disagree_in_frames_are_refused(dictionary: Dictionary, sample: dict[str, Any]) -> None:
    models = [GivenOutput(spell(dictionary, *texts)) for texts in (("AB", "BA"), ("ABA", "BAB"))]
    with pytest.raises(DecodingError, match=r"\(2, 2, 7\), \(2, 3, 7\)"):
        greedy(dictionary).generate(models, sample)


def test_models_that_disagree_in_the_frames_of_a_shorter_utterance_are_refused(
    dictionary: Dictionary, sample: dict[str, Any]
) -> None:
    log_probs = spell(dictionary, "A-BA", "AB-A")
    with pytest.raises(DecodingError, match=r"frames of an utterance, got \[\(4, 2\), \(4, 3\)\]"):
        greedy(dictionary).generate([GivenOutput(log_probs, [4, 3]), GivenOutput(log_probs, [4, 2])], sample)


def test_nan_is_refused(dictionary: Dictionary, sample: dict[str, Any]) -> None:
    log_probs = spell(dictionary, "AB", "BA")
    log_probs[1, 0, 0] = math.nan
    with pytest.raises(DecodingError, match="NaN for 1 of 2 utterances"):
        greedy(dictionary).generate([GivenOutput(log_probs)], sample)


def test_nbest(dictionary: Dictionary, sample: dict[str, Any]) -> None:
    generator = build_generator(dictionary, Namespace(beam=4, nbest=3))
    for best in generator.generate([GivenOutput(spell(dictionary, "A-BA", "AB-A"))], sample):
        scores = [hypothesis["score"] for hypothesis in best]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (Namespace(), fastest_search()(0, 5, 1)),
        (GenerationConfig(), fastest_search()(0, 5, 1)),
        (Namespace(beam=1), GreedyDecoder(0)),
        (Namespace(beam=2, nbest=2), fastest_search()(0, 2, 2)),
    ],
)
def test_beam_chooses_the_decoder(dictionary: Dictionary, args: object, expected: object) -> None:
    assert build_generator(dictionary, args).decoder == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"beam": 0}, "beam=0: must be 1"),
        ({"beam": 3, "nbest": 4}, "nbest=4: must be from 1 to beam, which is 3"),
        ({"beam": 1, "nbest": 2}, "nbest=2"),
        ({"nbest": 0}, "nbest=0"),
        ({"prefix_size": 1}, "prefix_size=1: CTC decoding cannot"),
        ({"constraints": "ordered"}, "constraints='ordered'"),
        ({"sampling": True}, "sampling=True"),
        ({"lm_path": "lm.pt"}, "lm_path='lm.pt'"),
        ({"lenpen": 0.5}, "lenpen=0.5: .* leave it at 1"),
        ({"print_step": True}, "print_step=True"),
        ({"print_alignment": "soft"}, "print_alignment='soft'"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    dictionary: Dictionary, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_generator(dictionary, GenerationConfig(**args))


@pytest.mark.parametrize("name", ["prefix_tokens", "constraints"])
def test_given_tokens_are_refused(dictionary: Dictionary, sample: dict[str, Any], name: str) -> None:
    generate: Callable[..., object] = greedy(dictionary).generate
    with pytest.raises(ConfigError, match=name):
        generate([GivenOutput(spell(dictionary, "A", "B"))], sample, **{name: torch.zeros(2, 1)})


def test_every_option_of_fairseq_is_either_honoured_harmless_or_refused() -> None:
    honoured = {"beam", "nbest", "print_alignment", "unnormalized"}
    harmless = {"no_early_stop", "no_beamable_mm", "no_seed_provided", "sacrebleu"}  # nothing here to change
    two_passes = {"beam_mt", "lenpen_mt", "max_len_a_mt", "max_len_b_mt"}  # not in fairseq 0.12.2
    defaults = {field.name: field.default for field in fields(GenerationConfig)}
    missing = two_passes - defaults.keys()
    assert missing in (set(), two_passes)
    refused = {name: default for name, default in NOT_FOR_CTC.items() if name not in missing}
    assert set(defaults) - {"_name"} == honoured | harmless | refused.keys()
    assert {name: defaults[name] for name in refused} == refused


def test_decoding_can_be_imported_without_fairseq() -> None:
    code = "import sys; sys.modules['fairseq'] = None; import fairseq_parp.decoding"
    subprocess.run([sys.executable, "-c", code], check=True)
