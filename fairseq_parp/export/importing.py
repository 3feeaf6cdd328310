"""Importing: a folder of Hugging Face transformers becomes a fairseq checkpoint, to finetune from or to decode with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.compat.encoder_defaults import with_defaults
from fairseq_parp.errors import ConfigError, ExportError, absolute
from fairseq_parp.export.encoders import Encoder
from fairseq_parp.export.names import PROJECTION, encoder_names
from fairseq_parp.export.source import BENEATH, build_encoder, require_finite
from fairseq_parp.files import writing_whole
from fairseq_parp.kinds import unreadable
from fairseq_parp.mask_files.fresh import encoder_config

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
NEVER_EMITTED = -1e4
"""Bias of a special symbol of fairseq's that the folder's vocabulary lacks: its probability is 0."""

_PREFIXES = {"wav2vec2": "wav2vec2.", "hubert": "hubert.", "data2vec_audio": "data2vec_audio."}
_TASKS = {"hubert": "hubert_pretraining"}
_CTC = {"hubert": "parp_hubert_ctc"}
_OLD_POSITIONS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""Names of these in transformers before it used torch's parametrizations."""


@dataclass(frozen=True)
class Imported:
    """An imported model.

    Attributes:
        path: path of the checkpoint.
        encoder: shape of the encoder.
        symbols: number of symbols of the CTC head; 0 for an encoder alone.
        normalize: whether audio gets zero mean and unit variance.
        left: the folder's tensors that have no place in fairseq's model.
    """

    path: Path
    encoder: Encoder
    symbols: int
    normalize: bool
    left: tuple[str, ...]


def import_folder(
    folder: str | Path, out: str | Path, *, normalize: bool | None = None, force: bool = False
) -> Imported:
    """Write a folder of wav2vec 2.0, HuBERT or data2vec audio as a fairseq checkpoint.

    A folder with a CTC head and a vocabulary becomes a finetuned checkpoint, any other a pretrained one for
    ``model.w2v_path``. So does MMS's, whose heads and adapters are one file a language
    (:mod:`fairseq_parp.parts.mms`). No code of the folder runs; a pickle is read as any checkpoint is here.

    Args:
        folder: a folder of transformers' ``save_pretrained``.
        out: file to write.
        normalize: whether audio is to have zero mean and unit variance; by default as the folder's feature extractor.
        force: replace ``out`` where it is there.

    Raises:
        CheckpointError: a pickle of weights cannot be read.
        ConfigError: ``out`` is there; nothing states ``normalize``.
        ExportError: a file is missing, the family is not known, a tensor is missing or has another shape, or the
            vocabulary has no blank.
    """
    place, file = Path(folder), Path(out)
    if file.exists() and not (force and file.is_file()):
        raise ConfigError("--out", out, f"{absolute(file)} exists already; name another, or use --force")
    config = read_json(place / "config.json")
    encoder = _named(place, lambda: Encoder.from_transformers(config))
    tensors = _weights(place)
    require_finite(absolute(place), tensors)
    normalize = _normalize(place) if normalize is None else normalize
    found, left = _renamed(place, encoder, tensors)
    symbols: tuple[str, ...] = ()
    if "lm_head.weight" in tensors and not _has_languages(place / "vocab.json"):
        symbols, head = _head(place, config, tensors)
        found = {BENEATH + name: value for name, value in found.items()} | head
        left = tuple(name for name in left if not name.startswith("lm_head."))
    state = checkpoint_of(encoder, found, symbols, normalize)
    _named(place, lambda: build_encoder(encoder_config(state), state))
    with writing_whole(file) as written:
        torch.save(state, written)
    return Imported(file, encoder, len(symbols), normalize, left)


def _has_languages(vocabulary: Path) -> bool:
    """Return whether a vocabulary has one mapping a language, as MMS's: then the folder's head is one of many.

    Raises:
        ExportError: it has symbols beside languages.
    """
    kinds = {isinstance(value, dict) for value in read_json(vocabulary).values()}
    if len(kinds) > 1:
        raise ExportError(f"{absolute(vocabulary)}: has languages and symbols side by side")
    return True in kinds


def _named(place: Path, call: Any) -> Any:
    try:
        return call()
    except ExportError as error:
        raise ExportError(f"{absolute(place)}: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ExportError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{absolute(path)}: {unreadable(path, error)}; name a folder of save_pretrained") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{absolute(path)}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ExportError(f"{absolute(path)}: holds a {type(found).__name__}, not an object")
    return found


def _weights(place: Path) -> dict[str, Tensor]:
    if names := _safetensors(place):
        return {each: value for name in names for each, value in _load(place / name).items()}
    if (place / WEIGHTS[1]).is_file():
        content = checkpoints.load(place / WEIGHTS[1], with_fairseq=False)
        if isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content)
        raise ExportError(f"{absolute(place / WEIGHTS[1])}: not a mapping of tensors")
    raise ExportError(f"{absolute(place)}: no weights; one of {', '.join(WEIGHTS)} is needed")


def _safetensors(place: Path) -> list[str]:
    """Return the names of the safetensors files; those of a large model are listed in an index."""
    index = place / f"{WEIGHTS[0]}.index.json"
    if (place / WEIGHTS[0]).is_file() or not index.is_file():
        return [WEIGHTS[0]] if (place / WEIGHTS[0]).is_file() else []
    listed = read_json(index).get("weight_map")
    names = listed.values() if isinstance(listed, dict) else [None]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ExportError(f"{absolute(index)}: weight_map is not a mapping of tensors to files of the folder")
    return sorted({str(name) for name in names})


def _load(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except FileNotFoundError:
        raise ExportError(f"{absolute(file)}: no such file; the folder's index lists it") from None
    except SafetensorError as error:
        raise ExportError(f"{absolute(file)}: truncated or damaged ({error})") from None


def _normalize(place: Path) -> bool:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (place / name).is_file():
            found = read_json(place / name)
            found = found.get("feature_extractor", found)
            if isinstance(found, dict) and isinstance(found.get("do_normalize"), bool):
                return bool(found["do_normalize"])
    allowed = "true or false; no preprocessor_config.json in the folder states it"
    raise ConfigError("--normalize", None, allowed)


def _renamed(place: Path, encoder: Encoder, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the encoder's tensors under fairseq's names, and the names that were not used."""
    most = max(encoder.layers, encoder.positions[2])
    if most > len(tensors):
        raise ExportError(f"{absolute(place)}: its config has {most} layers, its weights have {len(tensors)} tensors")
    prefix = _PREFIXES[encoder.family]
    beneath = prefix if any(name.startswith(prefix) for name in tensors) else ""
    found, used = {}, set()
    for ours, theirs in encoder_names(encoder).items():
        name = next((each for each in _spellings(beneath + theirs) if each in tensors), None)
        if name is not None:
            found[ours] = tensors[name].float()
            used.add(name)
        elif ours == "mask_emb":  # transformers has none where nothing was masked
            found[ours] = torch.zeros(encoder.width)
        else:
            raise ExportError(f"{absolute(place)}: has no tensor {beneath + theirs}")
    _require_sizes(place, encoder, found)
    if not encoder.needs_projection:
        used |= _require_identity(place, beneath + PROJECTION, tensors)
    return found, tuple(sorted(set(tensors) - used))


def _require_sizes(place: Path, encoder: Encoder, found: Mapping[str, Tensor]) -> None:
    """Compare the tensors that have all sizes of the config, before memory is taken for a model of these sizes.

    Raises:
        ExportError: one has another shape.
    """
    kernel, groups, number = encoder.positions
    position = "encoder.pos_conv.0.weight_v" if number == 1 else "encoder.pos_conv.0.0.weight"
    wanted = {
        "encoder.layers.0.fc1.weight": (encoder.hidden, encoder.width),
        position: (encoder.width, encoder.width // groups, kernel),
    }
    before = 1
    for each, (channels, width, _) in enumerate(encoder.convolutions):
        wanted[f"feature_extractor.conv_layers.{each}.0.weight"] = (channels, before, width)
        before = channels
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            shapes = f"{tuple(found[name].shape)}, its config makes it {shape}"
            raise ExportError(f"{absolute(place)}: the tensor of {name} has shape {shapes}")


def _spellings(name: str) -> tuple[str, ...]:
    return (name, *(name.replace(new, old) for new, old in _OLD_POSITIONS.items() if new in name))


def _require_identity(place: Path, name: str, tensors: Mapping[str, Tensor]) -> set[str]:
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    if weight is None or bias is None or not weight.equal(torch.eye(len(weight))) or bias.any():
        reason = "fairseq has no projection between convolutions and encoder of one width; this one is not the identity"
        raise ExportError(f"{absolute(place)}: {name}: {reason}")
    return {f"{name}.weight", f"{name}.bias"}


def _head(
    place: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    vocabulary, blank = read_json(place / "vocab.json"), config.get("pad_token_id")
    if config.get("adapter_attn_dim"):
        raise ExportError(
            f"{absolute(place)}: adapter_attn_dim: has the adapters of a language, and no vocabulary of it"
        )
    if not all(type(index) is int for index in (blank, *vocabulary.values())):
        raise ExportError(f"{absolute(place / 'vocab.json')}: an index, or pad_token_id={blank!r}, is no whole number")
    if odd := [symbol for symbol in vocabulary if not symbol or symbol.split() != [symbol]]:
        reason = f"symbol {odd[0]!r}: fairseq's dictionaries have no white space; the word boundary is '|'"
        raise ExportError(f"{absolute(place / 'vocab.json')}: {reason}")
    if blank not in vocabulary.values():
        raise ExportError(
            f"{absolute(place / 'config.json')}: pad_token_id={blank!r} is the blank, and is not the index of a symbol"
        )
    return head_of(place / "vocab.json", vocabulary, blank, tensors)


def head_of(
    file: Path, vocabulary: Mapping[str, int], blank: Any, tensors: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Return fairseq's symbols and the CTC head, its rows in their order.

    Args:
        file: path of the vocabulary, for messages.
        vocabulary: index of each symbol.
        blank: index of the blank.
        tensors: the model's tensors, with ``lm_head.weight`` and ``lm_head.bias``.

    Raises:
        ExportError: the vocabulary has another number of symbols than the head.
    """
    weight, bias = tensors["lm_head.weight"].float(), tensors["lm_head.bias"].float()
    by_index = {index: symbol for symbol, index in vocabulary.items()}
    if sorted(by_index) != list(range(len(weight))) or len(by_index) != len(vocabulary):
        raise ExportError(f"{absolute(file)}: {len(vocabulary)} symbols, lm_head has {len(weight)} rows")
    taken = {blank: "<s>"}
    for ours, theirs in (("<pad>", ("<s>", "[CLS]")), ("</s>", ("</s>", "[SEP]")), ("<unk>", ("<unk>", "[UNK]"))):
        taken |= {vocabulary[name]: ours for name in theirs if name in vocabulary and vocabulary[name] not in taken}
    others = [index for index in sorted(by_index) if index not in taken]
    at = {symbol: index for index, symbol in taken.items()}
    rows = [at.get(special) for special in ("<s>", "<pad>", "</s>", "<unk>")] + others
    symbols = ("<s>", "<pad>", "</s>", "<unk>", *(by_index[index] for index in others))
    none = (weight.new_zeros(weight.size(1)), bias.new_tensor(NEVER_EMITTED))
    picked = [none if row is None else (weight[row], bias[row]) for row in rows]
    return symbols, {
        "w2v_encoder.proj.weight": torch.stack([row for row, _ in picked]),
        "w2v_encoder.proj.bias": torch.stack([each for _, each in picked]),
    }


def checkpoint_of(
    encoder: Encoder, tensors: dict[str, Tensor], symbols: tuple[str, ...], normalize: bool
) -> dict[str, Any]:
    """Return a model's checkpoint as fairseq would have saved it, finetuned if there are ``symbols``."""
    task = {"_name": _TASKS.get(encoder.family, "audio_pretraining"), "data": "", "normalize": normalize,
            "sample_rate": 16000, "labels": [] if encoder.family == "hubert" else None}  # fmt: skip
    model_cfg = with_defaults({"_name": encoder.family, **encoder.to_fairseq()})
    cfg: dict[str, Any] = {"model": model_cfg, "task": task, "criterion": None, "lr_scheduler": None}
    task_state: dict[str, Any] = {"dictionaries": [None]} if encoder.family == "hubert" else {}
    if symbols:
        dictionary = Dictionary()
        for symbol in symbols[4:]:
            dictionary.add_symbol(symbol)
        task_state = {"target_dictionary": dictionary}
        model = {
            "_name": _CTC.get(encoder.family, "wav2vec_ctc"),
            "w2v_path": "",
            "w2v_args": cfg,
            "normalize": normalize,
        }
        finetuning = {"_name": "audio_finetuning", "data": "", "labels": "ltr" if "|" in symbols else "phn",
                      "normalize": normalize, "sample_rate": 16000}  # fmt: skip
        cfg = {"model": model, "task": finetuning, "criterion": {"_name": "ctc"}, "lr_scheduler": None}
    history = {
        "criterion_name": "",
        "optimizer_name": "",
        "lr_scheduler_state": {},
        "num_updates": 0,
        "best_loss": None,
    }
    return {"args": None, "cfg": cfg, "model": tensors, "criterion": None, "optimizer_history": [history],
            "task_state": task_state, "extra_state": {}, "last_optimizer_state": None}  # fmt: skip
