"""The target ``transformers``: a folder that Hugging Face transformers' ``from_pretrained`` loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.errors import ExportError, MissingToolError
from fairseq_parp.export.audio import Batch
from fairseq_parp.export.names import HEAD, PROJECTION, encoder_names
from fairseq_parp.export.source import BENEATH, Source

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""transformers' names of fairseq's first four symbols: its blank is called ``<pad>``."""

_CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "data2vec_audio": "Data2VecAudio"}


def write(source: Source, folder: Path) -> list[str]:
    """Write model, config, tokenizer and feature extractor.

    Returns:
        the content of the checkpoint that the folder lacks, one line each.

    Raises:
        CheckpointError, ExportError: transformers' class cannot hold the model.
        MissingToolError: transformers is not installed.
    """
    model = build(source)
    tensors, lost = renamed(source, model)
    model.load_state_dict(tensors, strict=True)
    model.save_pretrained(folder)  # type: ignore[operator]
    _write_processor(source, folder)
    return lost


def stored(source: Source, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the written folder, by the checkpoint's names."""
    from safetensors.torch import load_file

    written = load_file(folder / "model.safetensors")
    return {ours: written[theirs] for ours, theirs in checkpoint_names(source).items() if theirs in written}


@torch.no_grad()
def outputs(source: Source, folder: Path, batches: Sequence[Batch]) -> list[Tensor]:
    """Return (B, T, C) logits of each batch, or features of a pretrained model; the folder is loaded as users do."""
    model = _class(source).from_pretrained(folder).eval()
    masks = [None if each.padding is None else (~each.padding).long() for each in batches]
    found = [model(each.audio, attention_mask=mask) for each, mask in zip(batches, masks, strict=True)]
    return [each.logits if source.finetuned else each.last_hidden_state for each in found]


def library() -> Any:
    """Import transformers.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingToolError(
            f"transformers is not installed: pip install 'fairseq_parp[transformers]' ({error})"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def build(source: Source) -> nn.Module:
    """Return transformers' model of the checkpoint's shape, with random weights."""
    return _class(source)(_config(source))  # type: ignore[no-any-return]


def renamed(source: Source, model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Return the checkpoint's tensors under transformers' names, and those without a place there, one line each.

    Raises:
        ExportError: a tensor that transformers' model needs is not in the checkpoint, or has another shape.
    """
    names = checkpoint_names(source)
    wanted = model.state_dict()
    inside, beneath = source.tensors, f"{model.base_model_prefix}." if source.finetuned else ""
    found = {theirs: inside[ours] for ours, theirs in names.items() if ours in inside and theirs in wanted}
    if not source.encoder.needs_projection:
        width = source.encoder.width
        found |= {f"{beneath}{PROJECTION}.weight": torch.eye(width), f"{beneath}{PROJECTION}.bias": torch.zeros(width)}
    if missing := sorted(set(wanted) - set(found)):
        raise ExportError(f"{source.path}: has no tensor for {missing[0]} ({len(missing)} are missing)")
    for theirs, value in found.items():
        if value.shape != wanted[theirs].shape:
            shapes = f"{tuple(value.shape)}, transformers' class has {tuple(wanted[theirs].shape)}"
            raise ExportError(f"{source.path}: the tensor for {theirs} has shape {shapes}")
    left = [ours for ours in inside if names.get(ours) not in found]
    return {name: value.float().contiguous() for name, value in found.items()}, [
        f"{name}: no place for it" for name in left
    ]


def checkpoint_names(source: Source) -> dict[str, str]:
    """Return transformers' name of each tensor that has one, by the checkpoint's name."""
    names = encoder_names(source.encoder)
    if not source.finetuned:
        return names
    prefix = _class(source).base_model_prefix
    return {BENEATH + ours: f"{prefix}.{theirs}" for ours, theirs in names.items()} | HEAD


def vocabulary(source: Source) -> dict[str, int]:
    """Return the index of each symbol, fairseq's first four under transformers' names."""
    return {symbol: index for index, symbol in enumerate((*SPECIAL, *source.symbols[len(SPECIAL) :]))}


def _class(source: Source) -> Any:
    prefix = _CLASSES[source.encoder.family]
    return getattr(library(), f"{prefix}{'ForCTC' if source.finetuned else 'Model'}")


def _config(source: Source) -> Any:
    keys = source.encoder.to_transformers() | _training(source)
    if source.finetuned:
        keys |= {"vocab_size": len(source.symbols), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                 "ctc_loss_reduction": "sum", "ctc_zero_infinity": True}  # fmt: skip
    return getattr(library(), f"{_CLASSES[source.encoder.family]}Config")(**keys)


def _training(source: Source) -> dict[str, Any]:
    """Return the keys that matter only for further training: dropout and masks, as in the checkpoint's run."""
    model = source.cfg.model
    theirs = {
        "hidden_dropout": "dropout", "attention_dropout": "attention_dropout",
        "activation_dropout": "activation_dropout", "feat_proj_dropout": "dropout_input",
        "final_dropout": "final_dropout", "layerdrop": "layerdrop", "mask_time_prob": "mask_prob",
        "mask_time_length": "mask_length", "mask_feature_prob": "mask_channel_prob",
        "mask_feature_length": "mask_channel_length",
    }  # fmt: skip
    return {key: model[ours] for key, ours in theirs.items() if isinstance(model.get(ours), (int, float))}


def _write_processor(source: Source, folder: Path) -> None:
    """Write the feature extractor; of a finetuned model its tokenizer as well."""
    transformers = library()
    extractor = transformers.Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=source.sample_rate, padding_value=0.0, do_normalize=source.normalize,
        return_attention_mask=True,
    )  # fmt: skip
    if not source.finetuned:
        extractor.save_pretrained(folder)
        return
    (folder / "vocab.json").write_text(json.dumps(vocabulary(source), ensure_ascii=False, indent=0), encoding="utf-8")
    tokenizer = _tokenizer(source, folder / "vocab.json")
    transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)


def _tokenizer(source: Source, vocab: Path) -> Any:
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    if source.labels == "ltr":
        if "|" not in source.symbols:
            raise ExportError(f"{source.path}: its letters have no word boundary |")
        return library().Wav2Vec2CTCTokenizer(str(vocab), word_delimiter_token="|", **names)
    # the letters' tokenizer would join phones without spaces
    return library().Wav2Vec2PhonemeCTCTokenizer(
        str(vocab), do_phonemize=False, phone_delimiter_token=" ", word_delimiter_token=None, **names
    )
