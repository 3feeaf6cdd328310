"""The target ``fairseq``: a checkpoint that stock fairseq loads and decodes without this plugin.

Stock fairseq cannot build its own ``hubert_ctc``, and has data2vec audio in a user directory alone. Both have the
layers of wav2vec 2.0 under the same names, so both are written as wav2vec 2.0.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_parp.compat.encoder_defaults import with_defaults
from fairseq_parp.errors import ExportError, absolute
from fairseq_parp.export.audio import Batch
from fairseq_parp.export.names import HEAD, encoder_names
from fairseq_parp.export.source import BENEATH, Source
from fairseq_parp.files import writing_whole

FILE = "model.pt"

_HISTORY = ("criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates", "best_loss")
_ONLY_PRETRAINING = "final_proj.weight"
"""A tensor that a pretrained wav2vec 2.0 of fairseq's has, and one that was imported lacks."""


def write(source: Source, folder: Path) -> list[str]:
    """Write ``model.pt``, and of a finetuned model ``dict.LABELS.txt``, which stock fairseq reads the labels from.

    Nothing in the file needs a class to load: torch's ``weights_only`` refuses fairseq's ``Dictionary``.

    Returns:
        the content of the checkpoint that the folder lacks, one line each.
    """
    encoder, tensors = _encoder(source)
    cfg: Any = OmegaConf.to_container(source.cfg, resolve=True, enum_to_str=True)
    if source.finetuned:
        cfg = stock_config(cfg, encoder)
        name = f"dict.{source.labels}.txt"
        words = (f"{symbol} 1\n" for symbol in source.symbols[4:])
        (folder / name).write_text("".join(words), encoding="utf-8")
    else:
        cfg |= encoder
    history = [{key: each.get(key) for key in _HISTORY} for each in source.state.get("optimizer_history") or ()]
    state = {
        "args": None, "cfg": cfg, "model": {name: value.contiguous() for name, value in tensors.items()},
        "criterion": None, "optimizer_history": history, "task_state": {}, "extra_state": {},
        "last_optimizer_state": None,
    }  # fmt: skip
    with writing_whole(folder / FILE) as file:
        torch.save(state, file)
    lost = ["optimizer, pruning state and random states: training cannot be resumed from it"]
    if source.encoder.family != encoder["model"]["_name"]:
        lost.append(f"the class {source.encoder.family}: the encoder is written as {encoder['model']['_name']}")
    return lost + [f"{name}: no place for it" for name in source.tensors if name not in tensors]


def _encoder(source: Source) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return config and tensors of a wav2vec 2.0 with the encoder's layers.

    A strict load of a pretrained one needs two projections for pretraining. Where the source lacks them, they are one
    unit wide, and zero.

    Returns:
        the config's ``model``, ``task``, ``criterion`` and ``lr_scheduler``; the tensors, with the head's.
    """
    unused = {"criterion": None, "lr_scheduler": None}
    if source.encoder.family == "wav2vec2" and (source.finetuned or _ONLY_PRETRAINING in source.tensors):
        cfg: Any = OmegaConf.to_container(source.encoder_cfg, resolve=True, enum_to_str=True)
        return {"model": cfg["model"], "task": cfg["task"], **unused}, dict(source.tensors)
    shape = {key: value for key, value in source.encoder.to_fairseq().items() if key != "label_rate"}
    model = with_defaults({"_name": "wav2vec2", **shape, "quantize_targets": False, "final_dim": 1})
    task = {"_name": "audio_pretraining", "data": "", "normalize": source.normalize,
            "sample_rate": source.sample_rate, "labels": None}  # fmt: skip
    beneath = BENEATH if source.finetuned else ""
    names = {beneath + name for name in encoder_names(source.encoder)} | HEAD.keys()
    tensors = {name: value for name, value in source.tensors.items() if name in names}
    if not source.finetuned:
        for name, width in (("project_q", source.encoder.convolutions[-1][0]), ("final_proj", source.encoder.width)):
            tensors |= {f"{name}.weight": torch.zeros(1, width), f"{name}.bias": torch.zeros(1)}
    return {"model": model, "task": task, **unused}, tensors


def stock_config(cfg: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """Return a finetuned checkpoint's config with stock names and stock keys alone.

    Args:
        cfg: config of the checkpoint.
        encoder: config of the pretrained model.
    """
    from fairseq.tasks.audio_finetuning import AudioFinetuningConfig

    model = {**cfg["model"], "_name": "wav2vec_ctc", "w2v_args": encoder}
    known = AudioFinetuningConfig.__dataclass_fields__
    task = {key: value for key, value in cfg["task"].items() if key in known} | {"_name": "audio_finetuning"}
    return cfg | {"model": model, "task": task, "common": {**cfg.get("common", {}), "user_dir": None}}


def stored(source: Source, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the written file that the checkpoint has too."""
    return {name: value for name, value in source.open(folder / FILE).tensors.items() if name in source.tensors}


def outputs(_source: Source, folder: Path, batches: Sequence[Batch]) -> list[Tensor]:
    """Return stock fairseq's outputs, from a process that does not know this plugin.

    Raises:
        ExportError: stock fairseq cannot load the file; the message is fairseq's.
    """
    with tempfile.TemporaryDirectory() as place:
        asked, found = Path(place) / "asked.pt", Path(place) / "found.pt"
        torch.save([(batch.audio, batch.padding) for batch in batches], asked)
        command = [sys.executable, "-c", _STOCK, *map(absolute, (folder / FILE, folder, asked, found))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
        if done.returncode:
            raise ExportError(
                f"stock fairseq cannot load the export: {(done.stderr.strip() or 'no reason').splitlines()[-1]}"
            )
        return list(torch.load(found, weights_only=True))


_STOCK = """
import sys
import torch
from fairseq import checkpoint_utils
file, data, asked, found = sys.argv[1:]
(model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([file], arg_overrides={"data": data})
model.eval()
results = []
with torch.no_grad():
    for audio, padding in torch.load(asked, weights_only=True):
        if hasattr(model, "w2v_encoder"):
            result = model(source=audio, padding_mask=padding)["encoder_out"].transpose(0, 1)
        else:
            result = model.extract_features(audio, padding, mask=False)
            result = result["x"] if isinstance(result, dict) else result[0]
        results.append(result.contiguous())
assert not any(name.startswith("fairseq_parp") for name in sys.modules)
torch.save(results, found)
"""
