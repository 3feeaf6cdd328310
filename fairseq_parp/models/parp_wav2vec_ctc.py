"""``parp_wav2vec_ctc``: stock ``wav2vec_ctc`` over a pretrained wav2vec 2.0 or data2vec audio."""

from dataclasses import dataclass

from fairseq.models import register_model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc

from fairseq_parp.models._ctc import PrunableCtc


@dataclass
class ParpWav2VecCtcConfig(Wav2Vec2CtcConfig):
    """The stock model's keys, unchanged: a recipe becomes this model by its ``_name`` alone."""


@register_model("parp_wav2vec_ctc", dataclass=ParpWav2VecCtcConfig)
class ParpWav2VecCtc(PrunableCtc, Wav2VecCtc):
    """wav2vec 2.0 or data2vec audio with a CTC head."""

    name = "parp_wav2vec_ctc"
