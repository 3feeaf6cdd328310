"""Refuses generation options of fairseq that do not apply to CTC, and post-processing that the labels do not allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from fairseq_parp.errors import ConfigError

NOT_FOR_CTC: Mapping[str, object] = MappingProxyType(
    {
        "beam_mt": 0,
        "constraints": None,
        "decoding_format": None,
        "diverse_beam_groups": -1,
        "diverse_beam_strength": 0.5,
        "diversity_rate": -1.0,
        "eos_token": None,
        "iter_decode_eos_penalty": 0.0,
        "iter_decode_force_max_iter": False,
        "iter_decode_max_iter": 10,
        "iter_decode_with_beam": 1,
        "iter_decode_with_external_reranker": False,
        "lenpen": 1,
        "lenpen_mt": 1,
        "lm_path": None,
        "lm_weight": 0.0,
        "match_source_len": False,
        "max_len_a": 0,
        "max_len_a_mt": 0,
        "max_len_b": 200,
        "max_len_b_mt": 200,
        "min_len": 1,
        "no_repeat_ngram_size": 0,
        "prefix_size": 0,
        "print_step": False,
        "replace_unk": None,
        "retain_dropout": False,
        "retain_dropout_modules": None,
        "retain_iter_history": False,
        "sampling": False,
        "sampling_topk": -1,
        "sampling_topp": -1.0,
        "score_reference": False,
        "temperature": 1.0,
        "unkpen": 0,
    }
)
"""The options that search token by token, with fairseq's defaults."""


def refuse_foreign_options(args: object) -> None:
    """Accept only the defaults: an option that is silently ignored makes a wrong table of results.

    Args:
        args: fairseq's ``GenerationConfig``, or anything with some of its attributes.

    Raises:
        ConfigError: one is set to something else, or ``print_alignment`` asks for attention.
    """
    for name, default in NOT_FOR_CTC.items():
        value = getattr(args, name, default)
        if value != default:
            hint = "; for an n-gram LM there are kenlm_model and kenlm_weight" if name.startswith("lm_") else ""
            raise ConfigError(name, value, f"CTC decoding cannot honour this option; leave it at {default!r}{hint}")
    if getattr(args, "print_alignment", None) == "soft":
        raise ConfigError("print_alignment", "soft", "a CTC model has no attention to print; use hard")


WORD_MARKS: Mapping[str, str] = MappingProxyType(
    {"letter": "|", "sentencepiece": "\u2581", "wordpiece": "_", "_EOW": "_EOW"}
)
"""The mark between words in fairseq's post-processing, which joins all symbols that no mark separates."""


def missing_mark(post_process: str | None, symbols: Iterable[str]) -> str | None:
    """Return the mark that a post-processing needs and no symbol has: it would join a whole line. None if all is well.

    >>> missing_mark("letter", ["aa", "b"])
    '|'
    >>> missing_mark("letter", ["a", "b", "|"])
    """
    mark = WORD_MARKS.get(post_process or "")
    return mark if mark and not any(mark in symbol for symbol in symbols) else None
