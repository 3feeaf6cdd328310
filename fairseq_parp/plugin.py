"""Registering the plugin with fairseq from Python."""

from __future__ import annotations

from pathlib import Path


def load_plugin() -> None:
    """Register the task and the models with fairseq, as ``common.user_dir`` does."""
    from argparse import Namespace

    from fairseq.utils import import_user_module

    import_user_module(Namespace(user_dir=str(Path(__file__).parent)))
    # Where this package was imported under its own name before, fairseq takes it for loaded.
    import fairseq_parp.criterions.grounded  # noqa: F401
    import fairseq_parp.models.grounded_wav2vec2  # noqa: F401
    import fairseq_parp.models.parp_hubert_ctc  # noqa: F401
    import fairseq_parp.models.parp_wav2vec_classification  # noqa: F401
    import fairseq_parp.models.parp_wav2vec_ctc  # noqa: F401
    import fairseq_parp.tasks.grounded_pretraining  # noqa: F401
    import fairseq_parp.tasks.parp_audio_classification  # noqa: F401
    import fairseq_parp.tasks.parp_finetuning  # noqa: F401
    import fairseq_parp.tasks.parp_sentence_prediction  # noqa: F401
