"""The target ``fairseq``: a checkpoint that stock fairseq loads and decodes without this plugin."""

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

from fairseq_parp.errors import ExportError, absolute
from fairseq_parp.export.audio import Batch
from fairseq_parp.export.source import Source
from fairseq_parp.files import writing_whole

FILE = "model.pt"

_STOCK_MODELS = {"parp_wav2vec_ctc": "wav2vec_ctc", "parp_hubert_ctc": "hubert_ctc"}
_HISTORY = ("criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates", "best_loss")


def write(source: Source, folder: Path) -> list[str]:
    """Write ``model.pt``, and of a finetuned model ``dict.LABELS.txt``, which stock fairseq reads the labels from.

    Nothing in the file needs a class to load: torch's ``weights_only`` refuses fairseq's ``Dictionary``.

    Returns:
        what the folder lacks of the checkpoint, one line each.
    """
    cfg: Any = OmegaConf.to_container(source.cfg, resolve=True, enum_to_str=True)
    if source.finetuned:
        cfg = stock_config(cfg, source)
        name = f"dict.{source.labels}.txt"
        words = (f"{symbol} 1\n" for symbol in source.symbols[4:])
        (folder / name).write_text("".join(words), encoding="utf-8")
    history = [{key: each.get(key) for key in _HISTORY} for each in source.state.get("optimizer_history") or ()]
    state = {
        "args": None, "cfg": cfg, "model": {name: value.contiguous() for name, value in source.state["model"].items()},
        "criterion": None, "optimizer_history": history, "task_state": {}, "extra_state": {},
        "last_optimizer_state": None,
    }  # fmt: skip
    with writing_whole(folder / FILE) as file:
        torch.save(state, file)
    return ["optimizer, pruning state and random states: training cannot be resumed from it"]


def stock_config(cfg: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return a finetuned checkpoint's config with stock names and stock keys alone."""
    from fairseq.tasks.audio_finetuning import AudioFinetuningConfig

    model, task = dict(cfg["model"]), dict(cfg["task"])
    model["_name"] = _STOCK_MODELS.get(model["_name"], model["_name"])
    encoder: Any = OmegaConf.to_container(source.encoder_cfg, resolve=True, enum_to_str=True)
    model["w2v_args"] = {key: encoder[key] for key in ("model", "task")} | {"criterion": None, "lr_scheduler": None}
    known = AudioFinetuningConfig.__dataclass_fields__
    task = {key: value for key, value in task.items() if key in known} | {"_name": "audio_finetuning"}
    return cfg | {"model": model, "task": task, "common": {**cfg.get("common", {}), "user_dir": None}}


def stored(source: Source, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the written file, by the checkpoint's names."""
    return dict(source.open(folder / FILE).tensors)


def outputs(_source: Source, folder: Path, batches: Sequence[Batch]) -> list[Tensor]:
    """Return what stock fairseq gives, in a process of its own that does not know this plugin.

    Raises:
        ExportError: stock fairseq cannot load the file; the message is its own.
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
