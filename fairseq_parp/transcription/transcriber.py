"""Text for audio files in a few lines, from a finetuned checkpoint alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from fairseq_parp.architectures.convolutions import convolutions
from fairseq_parp.decoding.encoder import CTCModel, encode
from fairseq_parp.decoding.generator import build_decoder
from fairseq_parp.decoding.language_model import BEAM, LanguageModel
from fairseq_parp.transcription.encoding import encoded
from fairseq_parp.transcription.timing import Transcript, spans, timed_words

if TYPE_CHECKING:
    from fairseq_parp.transcription.loading import Finetuned


class Transcriber:
    """A finetuned model that is loaded once and transcribes any number of files.

    Files are read block by block and decoded one at a time. A file of more than 40 s is encoded in windows that
    overlap, and decoded whole.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        beam: int | None = None,
        lm: LanguageModel | None = None,
        device: str | torch.device | None = None,
        dictionary: str | Path | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """Load a checkpoint; the training data need not be there, nor does the pretrained file of most checkpoints.

        Args:
            checkpoint: file that fairseq-hydra-train saved.
            beam: 1 for greedy decoding, more for beam search; by default 1, or 50 with a language model.
            lm: language model; only words that it knows are found.
            device: device of the model; by default a GPU if there is one.
            dictionary: the labels' ``dict.ltr.txt``, in place of the checkpoint's.
            overrides: new values by key of the checkpoint's config, such as ``model.w2v_path``, values as text.

        Raises:
            CheckpointError: the file cannot be loaded.
            ConfigError: ``beam`` is below 1, or 2 with a language model; an override of no key.
            ManifestError: the dictionary cannot be read.
            MissingToolError, LanguageModelError: as :meth:`LanguageModel.decoder`.
        """
        # fairseq takes seconds to import, and importing this module must not need it.
        from fairseq_parp.transcription.loading import load_finetuned

        self._take(load_finetuned(checkpoint, dictionary, overrides), beam, lm, device)

    @classmethod
    def of(
        cls,
        finetuned: Finetuned,
        *,
        beam: int | None = None,
        lm: LanguageModel | None = None,
        device: str | torch.device | None = None,
    ) -> Transcriber:
        """Return a transcriber of a model that is loaded; arguments and errors as of the class."""
        made = cls.__new__(cls)
        made._take(finetuned, beam, lm, device)
        return made

    def _take(
        self, finetuned: Finetuned, beam: int | None, lm: LanguageModel | None, device: str | torch.device | None
    ) -> None:
        self._finetuned = finetuned
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._finetuned.model.to(self._device)
        self._stride = math.prod(stride for _, stride in convolutions(self._finetuned.model))
        labels, default = self._finetuned.dictionary, BEAM if lm else 1
        beam = default if beam is None else beam
        self._decoder = lm.decoder(labels, beam) if lm else build_decoder(labels.bos(), beam)

    def __call__(self, path: str | Path) -> str:
        """Transcribe one file.

        Letters (labels ``ltr``) become words, other labels symbols with spaces between.

        Raises:
            AudioError: the file is missing or unreadable, or shorter than the model's first frame.
        """
        return self.timed(path).text

    def timed(self, path: str | Path) -> Transcript:
        """Transcribe one file, with the start and the end of each word in seconds; errors as calling."""
        log_probs = self._encoded(path)
        ((best, *_),) = self._decoder.search(log_probs[None], torch.tensor([len(log_probs)]))
        symbols = [str(self.dictionary.string([token])) for token in best.tokens.tolist()]
        letters = self._finetuned.labels == "ltr"
        return timed_words(symbols, spans(best, log_probs), self.seconds, letters=letters)

    @property
    def seconds(self) -> float:
        """Duration of one encoder frame, in seconds."""
        return self._stride / self._finetuned.sample_rate

    @property
    def dictionary(self) -> Any:
        """The model's labels, a ``fairseq.data.Dictionary``; ``<s>`` is the blank."""
        return self._finetuned.dictionary

    @torch.no_grad()
    def log_probs(self, path: str | Path) -> Tensor:
        """Return (T, C) natural log-probabilities of one file, in main memory, for the user's own decoder.

        Raises:
            AudioError: as calling.
            DecodingError: the model's output is NaN.
        """
        return self._encoded(path).cpu()

    def _encoded(self, path: str | Path) -> Tensor:
        """Return (T, C) log-probabilities on the model's device."""

        def log_probs(source: Tensor) -> Tensor:
            sample = {"net_input": {"source": source.to(self._device), "padding_mask": None}}
            return encode([cast(CTCModel, self._finetuned.model)], sample)[0][0]

        return encoded(path, self._finetuned, log_probs)


def transcribe(
    checkpoint: str | Path,
    files: Iterable[str | Path],
    *,
    beam: int | None = None,
    lm: LanguageModel | None = None,
    device: str | torch.device | None = None,
    dictionary: str | Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the text of each audio file; arguments and errors are those of :class:`Transcriber`."""
    transcriber = Transcriber(checkpoint, beam=beam, lm=lm, device=device, dictionary=dictionary, overrides=overrides)
    return [transcriber(path) for path in files]
