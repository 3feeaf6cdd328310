"""The target ``onnx``: one graph from audio as recorded to log-probabilities, through transformers' model.

Inputs: ``input_values`` (B, samples) float32, within -1 to 1 and not normalised; ``input_lengths`` (B,) int64, samples
of each utterance. Output: ``logprobs`` (B, T, C), or ``features`` (B, T, C) of a pretrained model. Each utterance has
the output that it has alone; frames behind its end are blank with probability 1, and zeros among features.

The names, ``vocab.txt`` and ``config.json`` are those that onnx-asr's ``wav2vec2-ctc`` reads.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fairseq_parp.errors import ExportError, MissingToolError
from fairseq_parp.export.audio import Batch
from fairseq_parp.export.source import Source
from fairseq_parp.export.to_transformers import build, checkpoint_names, renamed, vocabulary
from fairseq_parp.files import write_whole
from fairseq_parp.transcription.audio import EPSILON

FILE = "model.onnx"
MAX_BYTES = 2**31 - 2**20
"""A protobuf message, which an ONNX file is, has less than 2 GiB."""

NEVER_EMITTED = -1e4
"""Log-probability of every symbol but the blank behind an utterance's end; -inf would turn into NaN in sums."""

_OPSET = 17  # the first with layer norm as one operator
_SAMPLES = 8000  # of the traced example


def write(source: Source, folder: Path) -> list[str]:
    """Write the graph; of a finetuned model its symbols as well.

    Returns:
        the content of the checkpoint that the folder lacks, one line each.

    Raises:
        CheckpointError, ExportError: transformers' class, or the file format, cannot hold the model.
        MissingToolError: a library is not installed.
    """
    onnx, _ = library("onnx"), library("onnxruntime")
    model = build(source).eval()
    tensors, lost = renamed(source, model)
    model.load_state_dict(tensors, strict=True)
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    graph = Graph(source, model).eval()
    if (size := sum(value.numel() * value.element_size() for value in graph.state_dict().values())) > MAX_BYTES:
        raise ExportError(f"{source.path}: its tensors take {size / 2**30:.2f} GiB, an ONNX file holds less than 2 GiB")
    if source.finetuned:
        _write_symbols(source, folder)
    write_whole(folder / FILE, _traced(onnx, graph))
    return [*lost, "mask_emb: only training uses it"]


def stored(source: Source, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the written graph, by the checkpoint's names."""
    onnx = library("onnx")
    written = {each.name: each for each in onnx.load(folder / FILE).graph.initializer}
    names = {ours: f"model.{theirs}" for ours, theirs in checkpoint_names(source).items()}
    return {ours: torch.from_numpy(onnx.numpy_helper.to_array(written[theirs]).copy())
            for ours, theirs in names.items() if theirs in written}  # fmt: skip


def outputs(_source: Source, folder: Path, batches: Sequence[Batch]) -> list[Tensor]:
    """Return (B, T, C) log-probabilities of each batch, or features of a pretrained model, by ONNX Runtime."""
    session = library("onnxruntime").InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    inputs = [{"input_values": each.raw.numpy(), "input_lengths": each.lengths.numpy()} for each in batches]
    return [torch.from_numpy(session.run(None, each)[0]) for each in inputs]


def library(name: str) -> Any:
    """Import onnx or onnxruntime.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingToolError(f"{name} is not installed: pip install 'fairseq_parp[onnx]' ({error})") from None


class Graph(nn.Module):
    """The traced module: transformers' model between normalisation and log-probabilities."""

    def __init__(self, source: Source, model: nn.Module) -> None:
        """Take transformers' model; its norms and later convolutions then leave the padding aside."""
        super().__init__()
        self.model, self.normalize, self.finetuned = model, source.normalize, source.finetuned
        self.convolutions = [(kernel, stride) for _, kernel, stride in source.encoder.convolutions]
        inner: Any = getattr(model, cast(str, model.base_model_prefix), model)
        first = inner.feature_extractor.conv_layers[0]
        self._norm = None
        if not source.encoder.layer_norms:
            first.layer_norm = self._norm = _OwnFramesNorm(first.layer_norm)
        for module in inner.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):  # data2vec has several; each but the first reads another's output
                module.register_forward_pre_hook(self._clear)
        self._frames = torch.empty(0)

    def forward(self, input_values: Tensor, input_lengths: Tensor) -> Tensor:
        """Return (B, T, C) log-probabilities or features of audio (B, samples) with (B,) samples each."""
        own = torch.arange(input_values.size(1)) < input_lengths[:, None]
        audio = _normalised(input_values, own, EPSILON) if self.normalize else input_values * own
        lengths = [input_lengths]
        for kernel, stride in self.convolutions:
            lengths.append(torch.div(lengths[-1] - kernel, stride, rounding_mode="floor") + 1)
        self._frames = lengths[-1]
        if self._norm is not None:
            self._norm.frames = lengths[1]
        found = self.model(audio, attention_mask=own.long())
        result = found.logits.log_softmax(-1) if self.finetuned else found.last_hidden_state
        nothing = torch.zeros(result.size(-1))
        if self.finetuned:
            nothing[1:] = NEVER_EMITTED  # the blank is the first symbol
        return torch.where(self._own(result.size(1))[..., None], result, nothing)

    def _own(self, length: int) -> Tensor:
        return torch.arange(length) < self._frames[:, None]

    def _clear(self, _module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        """Zero the padding of a convolution's input (B, C, T)."""
        return args[0] * self._own(args[0].size(2))[:, None]


class _OwnFramesNorm(nn.Module):
    """Group norm with one group a channel, over the utterance's own frames."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.frames = torch.empty(0)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, T)."""
        own = torch.arange(features.size(2)) < self.frames[:, None]
        return _normalised(features, own[:, None], self.eps) * self.weight[:, None] + self.bias[:, None]


def _normalised(values: Tensor, own: Tensor, epsilon: float) -> Tensor:
    """Return values with zero mean and unit variance over the last dimension's own places; zeros in all others."""
    count = own.sum(-1, keepdim=True)
    centred = (values - (values * own).sum(-1, keepdim=True) / count) * own
    return centred / ((centred**2).sum(-1, keepdim=True) / count + epsilon).sqrt()


def _traced(onnx: Any, graph: Graph) -> bytes:
    """Return the ONNX file.

    The exporter stores equal tensors once, under one's name. It is given tensors that all differ, so that each of
    the model's has its name in the file; the model's own take their places.
    """
    tensors = {name: value.clone() for name, value in graph.state_dict().items()}
    with torch.no_grad():
        for number, value in enumerate(graph.parameters()):
            value.fill_(number)
    example = torch.zeros(2, _SAMPLES), torch.tensor([_SAMPLES, _SAMPLES // 2])
    output = "logprobs" if graph.finetuned else "features"
    file: Any = io.BytesIO()  # torch's annotation knows paths alone
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's, and of shapes that are constants here
        # the exporter by tracing: the newer one needs a library more, and minutes for base size
        torch.onnx.export(
            graph, example, file, input_names=["input_values", "input_lengths"], output_names=[output],
            dynamic_axes={"input_values": {0: "batch", 1: "samples"}, "input_lengths": {0: "batch"},
                          output: {0: "batch", 1: "frames"}},
            opset_version=_OPSET, dynamo=False, do_constant_folding=False,  # folding transposes and renames weights
        )  # fmt: skip
    model = onnx.load_model_from_string(file.getvalue())
    for each in model.graph.initializer:
        if each.name in tensors:
            each.CopyFrom(onnx.numpy_helper.from_array(tensors[each.name].numpy(), each.name))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _write_symbols(source: Source, folder: Path) -> None:
    """Write ``vocab.txt`` (symbol and index a line) and ``config.json``.

    Raises:
        ExportError: a symbol has a space, or is one that the layout gives a meaning.
    """
    letters = source.labels == "ltr"
    lines = []
    for symbol, index in vocabulary(source).items():
        if index and (symbol == "<blk>" or any(each.isspace() or each == "\u2581" for each in symbol)):
            raise ExportError(f"{source.path}: vocab.txt cannot hold the symbol {symbol!r}")
        # onnx-asr joins symbols and makes U+2581 a space: between words, and before each phone
        shown = "<blk>" if index == 0 else symbol if letters or index < 4 else f"\u2581{symbol}"
        lines.append(f"{chr(0x2581) if letters and symbol == '|' else shown} {index}\n")
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    stride = math.prod(stride for _, _, stride in source.encoder.convolutions)
    config = {"model_type": "wav2vec2-ctc", "subsampling_factor": stride}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
