"""Rows: the effect of zeros on the speed of a model, in the installed engines. They have no bar.

wav2vec 2.0 base without its CTC head, one utterance, random weights pruned by magnitude over the paper's scope. The
peer of every row is the dense model in plain torch.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.rows import NO_BAR, Job, Row, compare, in_turn, unmeasured
from benchmarks.trainings import SECONDS, random_model
from benchmarks.weights import BASE, Size, session_of
from fairseq_parp.sparsity.scope import find_parameters

Run = Callable[[Tensor], object]

SPARSITIES = (0.5, 0.7, 0.9)
DENSE = "the dense model in torch"


@dataclass(frozen=True)
class Setting:
    """One measurement: the size of the model, the fraction of zeros of its prunable weights, and seconds of audio."""

    size: Size
    sparsity: float
    seconds: int

    def source(self) -> Tensor:
        """Return (1, samples) of noise, always the same."""
        return torch.randn((1, 16_000 * self.seconds), generator=torch.Generator().manual_seed(1))


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; ``size`` replaces the model's in tests, which also takes a second of audio instead of ten."""
    for sparsity in (0.0, *SPARSITIES):
        setting = Setting(size or BASE, sparsity, 1 if size else SECONDS)
        for engine, (needs, _) in ENGINES.items():
            if sparsity or needs:  # dense torch is the peer
                name = f"inference, {engine}: {f'{sparsity:.0%} zeros' if sparsity else 'dense'}"
                yield Job([name], functools.partial(_run, name, engine, setting))


def _run(name: str, engine: str, setting: Setting) -> Iterator[Row]:
    needs, prepare = ENGINES[engine]
    if missing := [package for package in needs if importlib.util.find_spec(package) is None]:
        yield unmeasured(name, NO_BAR, DENSE, f"not installed: pip install {' '.join(missing)}")
        return
    source, dense, run = setting.source(), pruned(setting.size, 0.0), prepare(setting)
    with torch.no_grad():
        yield compare(name, NO_BAR, DENSE, *in_turn(lambda: None, lambda: run(source), lambda: dense(source)))


class Encoder(nn.Module):
    """The model without masking, dropout and head: audio (1, samples) in, (1, frames, width) out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = random_model(size).eval()
        self.model.remove_pretraining_modules()
        for module in self.model.modules():
            if isinstance(module, nn.Linear):  # biases begin at zero: an engine that lost them would not show
                nn.init.normal_(module.bias, std=0.1)

    def forward(self, source: Tensor) -> Tensor:
        """Return the last layer's output."""
        return cast(Tensor, self.model.extract_features(source, None)["x"])


@functools.lru_cache(maxsize=2)  # the dense one and another
def pruned(size: Size, sparsity: float) -> Encoder:
    """Return the model with so much of the paper's scope zeroed by magnitude."""
    model = Encoder(size)
    session_of(dict(find_parameters(model)), sparsity).prune(0)
    return model


class _Csr(nn.Module):
    """A linear map whose matrix is in compressed sparse rows."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.matrix = linear.weight.detach().to_sparse_csr()

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(-1, inputs.size(-1))
        return (self.matrix @ flat.t()).t().add(self.bias).view(*inputs.shape[:-1], -1)


def in_torch(setting: Setting) -> Run:
    """Leave the zeros among the numbers."""
    return pruned(setting.size, setting.sparsity)


def in_csr(setting: Setting) -> Run:
    """Keep the matrices of the scope in compressed sparse rows."""
    model = copy.deepcopy(pruned(setting.size, setting.sparsity))
    for place in {name.rpartition(".")[0] for name in find_parameters(model)}:
        parent, _, name = place.rpartition(".")
        setattr(model.get_submodule(parent), name, _Csr(cast(nn.Linear, model.get_submodule(place))))
    for module in model.modules():
        if hasattr(module, "skip_embed_dim_check"):  # fairseq's attention then calls its linear maps
            setattr(module, "skip_embed_dim_check", True)  # noqa: B010 (fairseq has no types)
    return model


def in_onnx_runtime(setting: Setting) -> Run:
    """Export, and load with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting takes no CPU time, as in torch
    session = onnxruntime.InferenceSession(_exported(setting), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda source: session.run(None, {name: source.numpy()})[0]


def in_openvino(setting: Setting, precision: str = "f32") -> Run:
    """Export, and load with OpenVINO."""
    import openvino

    core = openvino.Core()
    # Left alone it computes in bfloat16 where the processor can.
    alike = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(core.read_model(_exported(setting)), "CPU", alike)
    return lambda source: compiled(source.numpy())[0]


@functools.lru_cache(maxsize=1)  # both engines take the same file after one another
def _exported(setting: Setting) -> bytes:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder) / "model.onnx"
        model = pruned(setting.size, setting.sparsity)
        torch.onnx.export(model, (setting.source(),), os.fspath(file), dynamo=True, external_data=False)
        return file.read_bytes()


ENGINES: dict[str, tuple[Sequence[str], Callable[[Setting], Run]]] = {
    "torch": ((), in_torch),
    "torch.sparse CSR": ((), in_csr),
    "ONNX Runtime": (("onnx", "onnxscript", "onnxruntime"), in_onnx_runtime),
    "OpenVINO": (("onnx", "onnxscript", "openvino"), in_openvino),
    "OpenVINO bf16": (("onnx", "onnxscript", "openvino"), functools.partial(in_openvino, precision="bf16")),
}
"""What each engine needs beside torch, and how it takes the model."""
