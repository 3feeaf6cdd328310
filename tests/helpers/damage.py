"""Files damaged on purpose, and stock fairseq that meets them."""

from __future__ import annotations

import re
from pathlib import Path

import tiny


def stock_training(folder: Path, save: Path, data: Path, pretrained: Path, *keys: str) -> list[str]:
    """The tiny recipe without anything of this project."""
    text = tiny.CONFIG.read_text()
    text = text.replace("parp_finetuning", "audio_finetuning").replace("parp_wav2vec_ctc", "wav2vec_ctc")
    text = re.sub(r"  pruning:\n(    .*\n)+|  user_dir: .*\n", "", text)
    (folder / "stock.yaml").write_text(text)
    arguments = tiny.training(save, data, pretrained, *keys, config=folder / "stock.yaml")
    return [argument for argument in arguments if "user_dir" not in argument]


def flipped(source: Path, target: Path, at: int, bit: int = 0) -> Path:
    content = bytearray(source.read_bytes())
    content[at] ^= 1 << bit
    target.write_bytes(content)
    return target
