"""Checks that a pretrained file works here: its family, its counts, one update with a re-prune, one checkpoint."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

from fairseq_parp import checkpoints
from fairseq_parp.architectures.families import CONFORMER
from fairseq_parp.commands.arguments import quoted
from fairseq_parp.commands.front import hydra_arguments
from fairseq_parp.commands.running import last_error
from fairseq_parp.compat.encoders import family_named, name_of, require_pretrained
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.files import sha256
from fairseq_parp.mask_files.fresh import config_of
from fairseq_parp.mask_files.reading import tensors_of
from fairseq_parp.mask_files.report import report
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.scope import find_names
from fairseq_parp.transcription.transcriber import Transcriber

SPARSITY = 0.5
RATE = 16_000
SECONDS = 2
"""Length of the noise that the model is run on."""


class Shape(NamedTuple):
    """The differences between released encoders: family, Transformer layers, width, and normalised audio."""

    family: str
    layers: int
    width: int
    normalize: bool


RELEASES: Mapping[Shape, str] = {
    Shape("wav2vec2", 12, 768, False): "wav2vec_small.pt",
    Shape("wav2vec2", 24, 1024, False): "libri960_big.pt",
    Shape("wav2vec2", 24, 1024, True): "wav2vec_vox_new.pt, xlsr_53_56k.pt or xlsr2_300m.pt",
    Shape("hubert", 12, 768, False): "hubert_base_ls960.pt",
    Shape("hubert", 24, 1024, True): "hubert_large_ll60k.pt",
    Shape("hubert", 48, 1280, True): "hubert_xtralarge_ll60k.pt",
    Shape("data2vec_audio", 12, 768, True): "audio_base_ls.pt",
    Shape("data2vec_audio", 24, 1024, True): "vox_pretrained.pt",
}
"""Released files by shape. fairseq publishes no checksum of them, so that a shape is all that can be compared."""


def verify(path: str | Path) -> Iterator[tuple[str, str]]:
    """Check a pretrained file step by step.

    Args:
        path: fairseq checkpoint of a pretrained encoder.

    Yields:
        the name of a step that succeeded, and its finding.

    Raises:
        CheckpointError: a step failed.
    """
    load_plugin()
    state = checkpoints.read(path)
    cfg = config_of(state)
    name = name_of(cfg)
    family = family_named(name)
    model = "parp_wav2vec_ctc" if family is None or family.ctc_model is None else family.ctc_model
    require_pretrained(absolute(path), {"cfg": cfg}, model)
    normalize = bool(cfg.task.get("normalize", cfg.model.get("normalize", False)))
    shape = Shape(str(name), cfg.model.encoder_layers, cfg.model.encoder_embed_dim, normalize)
    yield "file", f"{absolute(path)}, SHA-256 {sha256(path)}"
    yield "family", f"{name}, {shape.layers} layers x {shape.width}; trained by model._name={model}"
    yield "release", f"{RELEASES.get(shape, 'no known release')} by its shape; no checksum is published"
    tensors = tensors_of(state)
    size = _require_counts(path, cfg.model, tensors)
    zeros = sum(int((tensors[name] == 0).sum()) for name in find_names(tensors))
    yield "weights", f"{size:,} prunable, as in the table of architectures"
    del state, tensors
    with tempfile.TemporaryDirectory() as place:
        further = [f"++model.layer_type={CONFORMER.name}"] if _layer_type(cfg.model) == CONFORMER.name else []
        yield from _trained(Path(path), model, normalize, further, size, zeros, Path(place))


def _layer_type(model: Any) -> str:
    return str(getattr(model, "layer_type", None) or "transformer")


def _require_counts(path: str | Path, model: Any, tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the number of prunable weights; it follows from the shape."""
    width, hidden = model.encoder_embed_dim, model.encoder_ffn_embed_dim
    feed_forward = (2 * width * hidden + width + hidden) * (2 if _layer_type(model) == CONFORMER.name else 1)
    expected = model.encoder_layers * (4 * (width * width + width) + feed_forward)
    found = sum(tensors[name].numel() for name in find_names(tensors))
    if found != expected:
        reason = f"has {found:,} prunable weights; the shape that its config states has {expected:,}"
        raise CheckpointError(absolute(path), reason)
    return found


def _trained(
    path: Path, model: str, normalize: bool, further: list[str], size: int, present: int, place: Path
) -> Iterator[tuple[str, str]]:
    data = _noise(place / "data")
    overrides = [
        "--config-name", "base_10m", f"task.data={quoted(data)}", f"model.w2v_path={quoted(absolute(path))}",
        f"model._name={model}", f"checkpoint.save_dir={quoted(place / 'run')}", "common.log_interval=1",
        f"task.normalize={str(normalize).lower()}", f"task.pruning.sparsity={SPARSITY}", "task.pruning.interval=1",
        "optimization.max_update=1", "lr_scheduler.phase_ratio=null", "++lr_scheduler.warmup_steps=1",
        "++lr_scheduler.decay_steps=1",
        "optimization.update_freq=[1]", f"common.cpu={str(not _gpu()).lower()}",
        "model.mask_channel_prob=0", "dataset.num_workers=0", "dataset.disable_validation=true",
        "checkpoint.no_save_optimizer_state=true", *further,
    ]  # fmt: skip
    command = [sys.executable, "-m", "fairseq_cli.hydra_train", *hydra_arguments(overrides)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    if done.returncode:
        raise CheckpointError(absolute(path), f"the update failed: {last_error(done.stdout + done.stderr)}")
    saved = place / "run" / "checkpoint_last.pt"
    zeros, wanted = report(saved).prunable.zeros, zero_count(SPARSITY, size)
    if not wanted <= zeros <= max(wanted, present):  # zeros of the file that got no gradient are still there
        raise CheckpointError(absolute(path), f"the saved model has {zeros:,} zeros, not {wanted:,}")
    exactly = f"exactly {SPARSITY:g}" if zeros == wanted else f"those of the file among them, and {wanted:,} were asked"
    yield "update", f"one update, one re-prune and one saved checkpoint: {zeros:,} zeros, {exactly}"
    log_probs = Transcriber(saved, device="cpu").log_probs(data / "noise-0.wav")
    if not bool(torch.isfinite(log_probs).all()):
        raise CheckpointError(absolute(path), "the forward of the saved model has values that are not finite")
    yield "forward", f"the checkpoint loads; {len(log_probs)} finite frames of {SECONDS} s of noise"


def _gpu() -> bool:
    return torch.cuda.is_available()


def _noise(folder: Path) -> Path:
    """Write a data folder with two clips of noise."""
    folder.mkdir()
    chance = np.random.default_rng(1)
    names = [f"noise-{number}.wav" for number in range(2)]
    for name in names:
        soundfile.write(folder / name, 0.1 * chance.standard_normal(SECONDS * RATE), RATE)
    rows = [str(folder), *(f"{name}\t{SECONDS * RATE}" for name in names)]
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "train.ltr").write_text("N O I S E |\n" * len(names), encoding="utf-8")
    (folder / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in "|EINOS"), encoding="utf-8")
    return folder
