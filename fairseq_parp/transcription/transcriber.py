"""Text for audio files in a few lines, from a finetuned checkpoint alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fairseq_parp.architectures.convolutions import convolutions, shortest_input
from fairseq_parp.decoding.encoder import CTCModel, encode
from fairseq_parp.decoding.generator import build_decoder
from fairseq_parp.decoding.language_model import BEAM, LanguageModel
from fairseq_parp.decoding.windows import CONTEXT, SECONDS, windows
from fairseq_parp.errors import AudioError, absolute
from fairseq_parp.transcription.audio import read_audio


class Transcriber:
    """A finetuned model that is loaded once and transcribes any number of files.

    Files are decoded one at a time. A file of more than 40 s is encoded in windows that overlap, and decoded whole.
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
            device: where the model runs; by default a GPU if there is one.
            dictionary: the labels' ``dict.ltr.txt``, in place of the checkpoint's.
            overrides: by key of the checkpoint's config, such as ``model.w2v_path``, values as text.

        Raises:
            CheckpointError: the file cannot be loaded.
            ConfigError: ``beam`` is below 1, or 2 with a language model; an override of no key.
            ManifestError: the dictionary cannot be read.
            MissingToolError, LanguageModelError: as :meth:`LanguageModel.decoder`.
        """
        # fairseq takes seconds to import, and whoever only imports this module need not have it.
        from fairseq_parp.transcription.loading import load_finetuned

        self._finetuned = load_finetuned(checkpoint, dictionary, overrides)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._finetuned.model.to(self._device)
        self._shortest = shortest_input(self._finetuned.model)
        labels, default = self._finetuned.dictionary, BEAM if lm else 1
        beam = default if beam is None else beam
        self._decoder = lm.decoder(labels, beam) if lm else build_decoder(labels.bos(), beam)

    def __call__(self, path: str | Path) -> str:
        """Transcribe one file.

        Letters (labels ``ltr``) come back as words, other labels as symbols with spaces between.

        Raises:
            AudioError: the file is missing or unreadable, or shorter than the model's first frame.
        """
        log_probs = self._encoded(path)[None]
        ((best, *_),) = self._decoder.search(log_probs, torch.tensor([log_probs.size(1)]))
        return str(self.dictionary.string(best.tokens, "letter" if self._finetuned.labels == "ltr" else None))

    @property
    def dictionary(self) -> Any:
        """The model's labels, a ``fairseq.data.Dictionary``; ``<s>`` is the blank."""
        return self._finetuned.dictionary

    @torch.no_grad()
    def log_probs(self, path: str | Path) -> Tensor:
        """Return (T, C) natural log-probabilities of one file, in main memory, for a decoder of one's own.

        Raises:
            AudioError: as calling.
            DecodingError: the model's output is NaN.
        """
        return self._encoded(path).cpu()

    def _encoded(self, path: str | Path) -> Tensor:
        """Return (T, C) log-probabilities on the model's device."""
        loaded = self._finetuned
        source = read_audio(path, loaded.sample_rate, loaded.normalize)
        if len(source) < self._shortest:
            needed = f"{self._shortest} samples at {loaded.sample_rate} Hz"
            raise AudioError(absolute(path), f"too short: {len(source)} samples, one encoder frame needs {needed}")
        stride = math.prod(stride for _, stride in convolutions(loaded.model))
        size, context = (seconds * loaded.sample_rate for seconds in (SECONDS, CONTEXT))
        pieces = []
        for window in windows(len(source), size, context, stride):
            heard = source[None, window.start : window.end].to(self._device)
            sample = {"net_input": {"source": heard, "padding_mask": None}}
            with torch.no_grad():
                found = encode([cast(CTCModel, loaded.model)], sample)[0][0]
            pieces.append(found[window.first : window.last])
        return torch.cat(pieces)


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
