"""The language model of a criterion: ``wer`` of a validation by a search over words, as the recipe's keys ask for.

fairseq's CTC criterion takes its decoder from ``examples``, which an installed fairseq does not import.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.decoding.decoder import Decoder
from fairseq_parp.decoding.language_model import BEAM, LanguageModel
from fairseq_parp.errors import ConfigError

_KEYS = ("wer_kenlm_model", "wer_lexicon", "wer_lm_weight", "wer_word_score")
_ARGS = "must be a tuple of wer_kenlm_model, wer_lexicon, wer_lm_weight and wer_word_score"


@dataclass(frozen=True)
class WordDecoder:
    """The decoder that fairseq's CTC criterion calls for the words of an utterance."""

    decoder: Decoder
    dictionary: Any

    def decode(self, log_probs: Tensor) -> list[list[dict[str, list[str]]]]:
        """Return the best words for log-probabilities (1, T, C), in the form of fairseq's own decoder."""
        best = self.decoder.search(log_probs, torch.tensor([log_probs.size(1)]))[0][0]
        return [[{"words": str(self.dictionary.string(best.tokens, "letter")).split()}]]


def take_language_model(cfg: Any) -> tuple[Any, LanguageModel | None]:
    """Return a criterion's config without its language model, and the language model, if it names one.

    Args:
        cfg: has fairseq's keys ``wer_kenlm_model``, ``wer_lexicon``, ``wer_lm_weight`` and ``wer_word_score``, or all
            of them as ``wer_args``.

    Raises:
        ConfigError: ``wer_args`` is not such a tuple, a number is out of range, or something is set about a language
            model and none is named.
    """
    text = getattr(cfg, "wer_args", None)
    keys = _parsed(text) if text is not None else [getattr(cfg, name, None) for name in _KEYS]
    path, lexicon, weight, word_score = keys
    lm = LanguageModel.if_named(path, lexicon, weight, word_score)
    if lm is None:
        return cfg, None
    plain = copy.deepcopy(cfg)
    plain.wer_args = plain.wer_kenlm_model = None
    return plain, lm


def _parsed(text: str) -> list[Any]:
    """Return the values of ``wer_args`` in the order of ``_KEYS``."""
    try:
        path, lexicon, weight, word_score = ast.literal_eval(text)
        return [None if path is None else str(path), lexicon and str(lexicon), float(weight), float(word_score)]
    except (ValueError, SyntaxError, TypeError):
        raise ConfigError("criterion.wer_args", text, _ARGS) from None


def word_decoder(lm: LanguageModel, dictionary: Any) -> WordDecoder:
    """Return the decoder that a criterion keeps as ``w2l_decoder``; errors as :meth:`LanguageModel.decoder`."""
    return WordDecoder(lm.decoder(dictionary, BEAM), dictionary)
