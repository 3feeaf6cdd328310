"""The targets of an export. The module ``to_TARGET`` has ``write``, ``stored`` and ``outputs``."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """The properties of one target.

    Attributes:
        summary: one line for the user.
        tolerance: largest allowed difference of outputs from the checkpoint's, relative to outputs above 1.
        alone: whether each utterance of a padded batch has the log-probabilities (or features) that it has alone;
            otherwise a batch has the logits (or features) of stock fairseq's forward.
    """

    summary: str
    tolerance: float = 2e-5
    alone: bool = False


TARGETS = {
    "compact": Target("one safetensors file of masks and kept values, which every command of this package reads"),
    "fairseq": Target("a checkpoint that stock fairseq loads and decodes without this plugin"),
    "onnx": Target("one graph from audio to log-probabilities, for ONNX Runtime, OpenVINO and onnx-asr", 1e-4, True),
    "transformers": Target("a folder for Hugging Face transformers' from_pretrained"),
}
