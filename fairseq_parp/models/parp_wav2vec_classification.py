"""``parp_wav2vec_classification``: stock ``wav2vec_classification`` over a pretrained wav2vec 2.0 or data2vec audio.

fairseq 0.12.2 has no such model; ``parp_audio_classification`` reports that.
"""

import contextlib
from dataclasses import dataclass

from torch import Tensor

from fairseq_parp.models._pretrained import OverPretrained

with contextlib.suppress(ModuleNotFoundError):
    from fairseq.models import register_model
    from fairseq.models.wav2vec.wav2vec2_classification import Wav2Vec2ClassificationConfig, Wav2VecClassification

    @dataclass
    class ParpWav2VecClassificationConfig(Wav2Vec2ClassificationConfig):
        """The stock model's keys; ``pooling`` is the one value that the stock model takes, not its default."""

        pooling: str = "mean"

    @register_model("parp_wav2vec_classification", dataclass=ParpWav2VecClassificationConfig)
    class ParpWav2VecClassification(OverPretrained, Wav2VecClassification):
        """wav2vec 2.0 or data2vec audio, the mean over an utterance's frames, and two linear maps.

        Attributes:
            log_probs: (B, classes) of the last batch.
        """

        name = "parp_wav2vec_classification"
        encoders = "parp_wav2vec_ctc"
        log_probs: Tensor

        def get_normalized_probs(self, net_output: Tensor, log_probs: bool) -> Tensor:
            """Return probabilities or log-probabilities (B, classes); keep them for the accuracy of the batch."""
            found: Tensor = super().get_normalized_probs(net_output, log_probs)
            self.log_probs = found.detach()
            return found
