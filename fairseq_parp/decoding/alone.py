"""A batch through a model so that each utterance gets the output that it has alone.

Stock fairseq lets the padding of a batch change the output of the shorter utterances:

- Group normalisation in the feature encoder (wav2vec 2.0 base) averages over the padding.
- Where convolutions follow one another behind the feature encoder (``pos_conv_depth`` above 1, conformer layers), each
  but the first reads frames of the padding that the one before has filled.
- ``crop_seq_to_multiple`` crops by the longest utterance.

Here group normalisation runs on each utterance's own frames, every later convolution reads zeros behind an
utterance's last frame, and the padding mask comes from the frames that the feature encoder gave. Convolutions of the
feature encoder have no padding: an utterance's frames read no sample behind its end. Attention never reads masked
frames, so the Transformer runs on the whole batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_parp.errors import AudioError

PIECE = 320_000
"""Samples that the feature encoder takes at a time. Smaller activations stay in the cache, and less padding is
computed; pieces of single utterances would cost a new setup of every convolution for every length."""


@contextlib.contextmanager
def each_alone(model: nn.Module, net_input: Mapping[str, Any]) -> Iterator[None]:
    """Let ``model`` give each utterance of ``net_input`` the output that it has alone, until the context ends.

    The model needs a module ``feature_extractor``: audio (B, samples) in, features (B, C, T) out, by convolutions
    without padding. It may also have an ``encoder``, which is called with features (B, T, C) and a ``padding_mask``. An
    encoder's optional ``front`` is the number of vectors that it puts before the frames. Other models run unchanged.

    Args:
        model: a model in evaluation mode; its output is a mapping with ``padding_mask``.
        net_input: ``source`` (B, samples), and ``padding_mask``: (B, samples), true behind an utterance's last sample;
            or None.
    """
    owner: Any = next((module for module in model.modules() if hasattr(module, "feature_extractor")), None)
    if owner is None:
        yield
        return
    batch = _Batch(owner.feature_extractor.forward, _lengths(net_input), getattr(owner, "crop_seq_to_multiple", 1))
    with contextlib.ExitStack() as until_the_end:
        for module, forward in batch.forwards(owner.feature_extractor):
            vars(module)["forward"] = forward
            until_the_end.callback(vars(module).pop, "forward")
        hooks = [module.register_forward_hook(batch.count) for module in _convolutions(owner.feature_extractor)]
        if isinstance(encoder := getattr(owner, "encoder", None), nn.Module):
            hooks.append(encoder.register_forward_pre_hook(batch.give_mask_to_encoder, with_kwargs=True))
            clear = partial(batch.clear_padding, getattr(encoder, "front", 0))
            hooks += [module.register_forward_pre_hook(clear) for module in _convolutions(encoder)]
            hooks.append(model.register_forward_hook(batch.give_mask_to_caller))
        for hook in hooks:
            until_the_end.callback(hook.remove)
        yield


def _lengths(net_input: Mapping[str, Any]) -> list[int]:
    """Return the samples of each utterance."""
    source, padding = net_input["source"], net_input.get("padding_mask")
    return [source.size(1)] * len(source) if padding is None else (~padding).sum(1).tolist()


def _convolutions(module: nn.Module) -> Iterator[nn.Conv1d]:
    return (part for part in module.modules() if isinstance(part, nn.Conv1d))


class _Batch:
    """A batch on its way through the model.

    Args:
        extract: the feature encoder's own forward.
        samples: number of samples of each utterance.
        multiple: the frames of an utterance are cropped to a multiple of this number.
    """

    def __init__(self, extract: Callable[[Tensor], Tensor], samples: list[int], multiple: int) -> None:
        self._extract, self._samples, self._multiple = extract, samples, multiple
        self._here: list[int] = []  # of each utterance of the piece at hand: its frames behind the last convolution
        self._frames = torch.empty(0)  # (B,), once the feature encoder has run
        self._length = 0  # frames of the padded batch, once the encoder was called

    def forwards(self, extractor: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        """Yield the modules whose forward has to be another one, and that."""
        yield extractor, self.features
        for module in extractor.modules():
            if isinstance(module, nn.GroupNorm):
                yield module, self._normalise_with(module.forward)

    def features(self, source: Tensor) -> Tensor:
        """Return (B, C, T) features of audio (B, samples), zeros behind an utterance's last frame.

        Raises:
            AudioError: an utterance is shorter than one frame.
        """
        features, counts = source.new_empty(0), torch.zeros(len(source), dtype=torch.long)
        for rows in self._pieces():
            self._here = [self._samples[row] for row in rows]
            some = self._extract(source[rows, : self._here[0]])
            if not len(features):  # the first piece has the longest utterance
                features = some.new_zeros((len(source), *some.shape[1:]))
            features[rows, :, : some.size(2)] = some
            counts[rows] = torch.tensor(self._here)
        self._frames = counts.to(source.device) // self._multiple * self._multiple
        return features

    def _pieces(self) -> Iterator[list[int]]:
        """Yield the utterances of each piece, the longest first."""
        rows: list[int] = []
        for row in sorted(range(len(self._samples)), key=lambda row: -self._samples[row]):
            if rows and (len(rows) + 1) * self._samples[rows[0]] > PIECE:
                yield rows
                rows = []
            rows.append(row)
        yield rows

    def count(self, convolution: nn.Conv1d, _args: tuple[Tensor, ...], _output: Tensor) -> None:
        """Follow the frames of the piece at hand through a convolution of the feature encoder."""
        (kernel,), (stride,) = convolution.kernel_size, convolution.stride
        self._here = [(frames - kernel) // stride + 1 for frames in self._here]
        if min(self._here) < 1:
            samples = min(self._samples)
            raise AudioError("an utterance of the batch", f"too short: {samples} samples give no encoder frame")

    def _normalise_with(self, norm: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def normalise(features: Tensor) -> Tensor:
            if min(self._here) == features.size(2):
                return norm(features)
            for row, frames in enumerate(self._here):
                features[row : row + 1, :, :frames] = norm(features[row : row + 1, :, :frames])
            return features

        return normalise

    def give_mask_to_encoder(
        self, _encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Replace the mask that the model made of the samples' mask."""
        self._length = args[0].size(1)
        return args, {**kwargs, "padding_mask": self._padding(self._length)}

    def give_mask_to_caller(self, _model: nn.Module, _args: tuple[Any, ...], output: dict[str, Any]) -> dict[str, Any]:
        """Replace the mask in the model's output."""
        return {**output, "padding_mask": self._padding(self._length)}

    def clear_padding(self, front: int, _convolution: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Zero the padding of a later convolution's input (B, C, front + T)."""
        padding = self._padding(args[0].size(2) - front)
        if padding is not None:
            padding = functional.pad(padding, (front, 0))
        return args if padding is None else (args[0].masked_fill(padding[:, None], 0), *args[1:])

    def _padding(self, length: int) -> Tensor | None:
        """Return (B, length), true behind an utterance's last frame; None if nothing is."""
        padding = torch.arange(length, device=self._frames.device) >= self._frames[:, None]
        return padding if padding.any() else None
