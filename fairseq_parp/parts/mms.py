"""MMS's language adapters, ``adapter.LANGUAGE.safetensors`` of Hugging Face transformers, as parts and back.

Such a file has an adapter behind every layer of a pre-norm encoder, and the CTC head. The vocabulary is another file,
``vocab.json``, with one mapping a language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError, ExportError, MaskError, PartError, absolute, listing
from fairseq_parp.export.encoders import Encoder
from fairseq_parp.export.importing import checkpoint_of, head_of, read_json
from fairseq_parp.export.names import HEAD, encoder_names
from fairseq_parp.export.source import BENEATH
from fairseq_parp.files import write_whole
from fairseq_parp.mask_files.fresh import config_of, encoder_config
from fairseq_parp.parts.base import Base
from fairseq_parp.parts.extracting import part_of
from fairseq_parp.parts.part import Part, require_language
from fairseq_parp.plugin import load_plugin
from fairseq_parp.safetensors_files import in_order, opened

_MODULES = ("norm", "linear_1", "linear_2")
_BLANKS = ("<pad>", "[PAD]")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""Transformers' names of fairseq's first four symbols, by their rows of the head."""


def adapter_names(encoder: Encoder) -> dict[str, str]:
    """Return transformers' name of each tensor of the language adapters, by fairseq's name in a finetuned model."""
    return {
        f"{BENEATH}encoder.layers.{layer}.adapter.{module}.{part}":
            f"wav2vec2.encoder.layers.{layer}.adapter_layer.{module}.{part}"
        for layer in range(encoder.layers) for module in _MODULES for part in ("weight", "bias")
    }  # fmt: skip


def import_adapter(base: str | Path, adapter: str | Path, vocab: str | Path, language: str, out: str | Path) -> Part:
    """Write a language adapter as a part, and return it.

    Args:
        base: checkpoint that ``fairseq-parp import`` made of the adapter's folder.
        adapter: ``adapter.LANGUAGE.safetensors``.
        vocab: ``vocab.json``, of all languages or of one.
        language: name of the adapter's language in the vocabulary.
        out: file to write.

    Raises:
        CheckpointError: the base cannot be read.
        ExportError: the vocabulary cannot be read, or has another number of symbols than the head.
        PartError: the adapter does not fit the base, or the vocabulary lacks the language.
    """
    load_plugin()
    opened_base = Base.open(base)
    encoder = _encoder(opened_base)
    tensors = _fitting(adapter, _read(adapter), adapter_names(encoder), encoder.width)
    vocabulary = _vocabulary(vocab, language)
    blank = next((vocabulary[name] for name in _BLANKS if name in vocabulary), None)
    if blank is None:
        raise PartError(vocab, f"has no blank: {' or '.join(_BLANKS)}")
    symbols, head = head_of(Path(vocab), vocabulary, blank, tensors)
    found = {f"{BENEATH}{name}": value for name in encoder_names(encoder)
             if (value := opened_base.tensor(f"{BENEATH}{name}")) is not None}  # fmt: skip
    found |= {ours: tensors[theirs].float() for ours, theirs in adapter_names(encoder).items()} | head
    state = checkpoint_of(encoder, found, symbols, bool(config_of(opened_base.state).task.get("normalize", False)))
    # stock fairseq's task would refuse a checkpoint's adapters; the plugin's refers to values of fairseq-generate
    state["cfg"]["task"]["_name"], state["cfg"]["model"]["_name"] = "parp_finetuning", "parp_wav2vec_ctc"
    state["cfg"]["common_eval"] = {"path": None, "post_process": None}
    try:
        require_language(language)
    except ValueError as error:
        raise PartError(out, str(error)) from None
    part = part_of(adapter, state, opened_base, language)
    part.save(out)
    return part


def export_adapter(file: str | Path, folder: str | Path) -> list[Path]:
    """Write a part for transformers' ``load_adapter``, and its vocabulary; return both files.

    Raises:
        ConfigError: a file exists already.
        PartError: the file is no part, or one with other tensors than language adapters and head.
    """
    part, place = Part.load(file), Path(folder)
    try:
        encoder = Encoder.from_fairseq(part.content["cfg"]["model"]["w2v_args"]["model"])
    except (KeyError, TypeError, ExportError) as error:
        raise PartError(file, f"is of no encoder that transformers has ({error})") from None
    names = adapter_names(encoder) | HEAD
    if other := [*part.mask.bits, *(name for name in part.tensors if name not in names)]:
        raise PartError(file, f"has {other[0]}; transformers loads language adapters and head alone")
    if lacking := [name for name in names if name not in part.tensors]:
        raise PartError(file, f"has no {lacking[0]}; transformers needs an adapter behind every layer")
    rows = [symbol for symbol, _ in part.content["symbols"]]
    vocabulary = {name: row for row, name in enumerate((*SPECIAL, *rows[len(SPECIAL) :]))}
    written = [place / f"adapter.{part.language}.safetensors", place / "vocab.json"]
    if there := [each for each in written if each.exists()]:
        raise ConfigError("--out", folder, f"{absolute(there[0])} exists already; name another folder")
    from safetensors.torch import save

    stored = {names[name]: value.contiguous() for name, value in part.tensors.items()}
    write_whole(written[0], in_order(bytes(save(stored, {"format": "pt"}))))
    text = json.dumps({part.language: vocabulary}, ensure_ascii=False, indent=1)
    write_whole(written[1], text.encode())
    return written


def _encoder(base: Base) -> Encoder:
    try:
        encoder = Encoder.from_fairseq(dict(encoder_config(base.state).model))
    except ExportError as error:
        raise PartError(base.path, str(error)) from None
    if encoder.family != "wav2vec2" or not encoder.pre_norm:
        raise PartError(base.path, "language adapters are for wav2vec 2.0 with layer_norm_first=true, as MMS is")
    return encoder


def _read(path: str | Path) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise PartError(path, "no such file")
    try:
        with opened(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except MaskError as error:
        raise PartError(path, str(error).removeprefix(f"{absolute(path)}: ")) from None


def _fitting(
    path: str | Path, tensors: Mapping[str, Tensor], names: Mapping[str, str], size: int
) -> Mapping[str, Tensor]:
    """Compare the adapter's tensors with those that the base's layers need.

    Raises:
        PartError: they are others.
    """
    needed = [*names.values(), *HEAD.values()]
    lacking, more = (
        [name for name in one if name not in other] for one, other in ((needed, tensors), (tensors, needed))
    )
    if lacking or more:
        reason = f"does not fit the base's layers: it lacks {listing(lacking, 2) or 'none'}"
        raise PartError(path, f"{reason} and has besides {listing(more, 2) or 'none'}")
    width = len(tensors[next(name for name in needed if name.endswith("linear_1.weight"))])
    rows = len(tensors["lm_head.weight"])
    shapes = {"norm.weight": (size,), "norm.bias": (size,), "linear_1.weight": (width, size), "linear_1.bias": (width,),
              "linear_2.weight": (size, width), "linear_2.bias": (size,), "lm_head.weight": (rows, size),
              "lm_head.bias": (rows,)}  # fmt: skip
    for name in needed:
        shape = next(shape for end, shape in shapes.items() if name.endswith(end))
        if tuple(tensors[name].shape) != shape or not tensors[name].is_floating_point():
            found = f"{tensors[name].dtype} of shape {tuple(tensors[name].shape)}"
            raise PartError(path, f"{name} is {found}, the base needs {torch.float32} of shape {shape}")
    return tensors


def _vocabulary(path: str | Path, language: str) -> dict[str, int]:
    found: Any = read_json(Path(path))
    if any(isinstance(value, dict) for value in found.values()):
        if not isinstance(found.get(language), dict):
            raise PartError(path, f"has no language {language!r}; it has {listing(found, 12)}")
        found = found[language]
    if not all(type(index) is int for index in found.values()):
        raise PartError(path, "its indices are not whole numbers")
    return dict(found)
