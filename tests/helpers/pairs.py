"""Made-up pairs of captions and pictures or clips, both of two things, and the recipes of tiny models of each kind."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tiny
import torch

from fairseq_parp.grounded.features import spans, write_features

THINGS = ["apple", "ball", "cat", "dog", "egg", "fish", "goat", "hat", "island", "jug", "kite", "lamp"]
WIDTH, FRAMES, RATE = 16, 6, 16_000
QUARTERS = torch.tensor([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])
PATTERNS = ("a {} and a {}", "the {} beside the {}", "look there is a {} with one {}")
SECONDS = 0.25
"""Of a spoken word, a tone: the higher, the later the thing in the list."""


def make(folder: Path, captions: str, pictures: str, copies: int = 4) -> Path:
    """Write a data folder with words' times (``SPLIT.ctm``) and objects; no two things of test are together in train.

    Args:
        folder: to write to.
        captions: ``speech`` or ``text``.
        pictures: ``pictures`` of four quarters, or ``clips`` of six frames in which one thing follows another.
        copies: pairs in train for every two things.
    """
    chance = random.Random(5)
    noise = torch.Generator().manual_seed(5)
    vectors = torch.randn(len(THINGS), WIDTH, generator=noise)
    pairs = list(combinations(range(len(THINGS)), 2))
    chance.shuffle(pairs)
    splits = {"train": pairs[24:] * copies, "valid": pairs[:4] * 2, "test": pairs[4:24]}
    places = QUARTERS if pictures == "pictures" else spans(FRAMES)
    ids, features, objects = [], [], ["image\tobject\tleft\ttop\tright\tbottom"]
    (folder / "audio").mkdir(parents=True)
    for split, chosen in splits.items():
        names, texts, lines, times = [], [], [str(folder.absolute())], []
        for number, pair in enumerate(chosen):
            things = chance.sample(pair, 2)
            regions = 0.5 * torch.randn(len(places), WIDTH, generator=noise)
            shown = _quarters(chance) if pictures == "pictures" else _spans(chance)
            names.append(f"{split}{number}")
            for thing, where in zip(things, shown, strict=True):
                regions[where] += 2 * vectors[thing]
                box = torch.cat([places[where, :2].amin(0), places[where, 2:].amax(0)]).tolist()
                objects.append("\t".join([names[-1], THINGS[thing], *map(str, box)]))
            features.append(regions)
            said = chance.sample(things, 2)
            if captions == "text":
                texts.append(chance.choice(PATTERNS).format(*(THINGS[thing] for thing in said)))
            else:
                path = f"audio/{names[-1]}.flac"  # fairseq takes every file valid* beside the manifests for a split
                lines.append(f"{path}\t{_speak(folder / path, said, chance)}")
                times += [
                    f"{names[-1]} 1 {SECONDS * place:.2f} {SECONDS} {THINGS[thing]}" for place, thing in enumerate(said)
                ]
        ids += names
        files = {"img": names} | ({"wrd": texts} if captions == "text" else {"tsv": lines, "ctm": times})
        for ending, rows in files.items():
            (folder / f"{split}.{ending}").write_text("\n".join(rows) + "\n")
    (folder / "objects").write_text("\n".join(objects) + "\n")
    boxes = places.expand(len(ids), -1, -1)
    write_features(folder / "images.safetensors", ids, torch.stack(features), "made up", boxes)
    return folder


def _quarters(chance: random.Random) -> list[list[int]]:
    """Return the regions of two things: each fills a quarter, the others show nothing."""
    return [[quarter] for quarter in chance.sample(range(4), 2)]


def _spans(chance: random.Random) -> list[list[int]]:
    """Return the frames of two things: one ends, a frame of nothing, the other begins."""
    gap = chance.randint(2, 3)
    return [list(range(gap)), list(range(gap + 1, FRAMES))]


def _speak(file: Path, things: list[int], chance: random.Random) -> int:
    """Write two tones, and return the number of samples."""
    samples = int(SECONDS * RATE)
    tones = []
    for thing in things:
        pitch = 200 * 1.28**thing * chance.uniform(0.98, 1.02)
        tones.append(0.1 * np.sin(2 * np.pi * pitch * np.arange(samples) / RATE))
    audio = np.concatenate(tones)
    audio += np.random.default_rng(chance.randrange(10**6)).normal(0, 0.005, len(audio))
    soundfile.write(file, audio, RATE)
    return len(audio)


def recipe(data: Path, captions: str, updates: int) -> dict[str, Any]:
    """Return the config of a training with a codebook."""
    width = 32
    codes = {"codes": 24, "code_width": 16, "code_warm_up": updates // 5, "code_temperature": 0.5, "code_patience": 40}
    both = {"embedding": width, "grounded_heads": 2, "grounded_dropout": 0.0, "image_layers": 1, "similarity": "cosine"}
    if captions == "text":
        model = {"_name": "grounded_text", "text_layers": 1}
        scope = [r"grounded\.(text|image)\.blocks\.\d+\.linear\d\.weight"]
    else:
        quiet = dict.fromkeys(
            ("dropout", "attention_dropout", "encoder_layerdrop", "dropout_input", "dropout_features"), 0.0
        )
        model = tiny.MODEL | quiet | {"_name": "grounded_wav2vec2", "audio_head": "small", "shared_layers": 1}
        scope = "paper"
    return {
        "common": {"cpu": True, "seed": 1, "log_format": "none", "user_dir": str(tiny.PLUGIN)},
        "checkpoint": {"no_epoch_checkpoints": True, "best_checkpoint_metric": "recall_5",
                       "maximize_best_checkpoint_metric": True, "save_interval": 10**6,
                       "save_interval_updates": updates},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "optimization": {"max_update": updates, "lr": [0.003]},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)"},
        "lr_scheduler": {"_name": "fixed", "warmup_updates": 20},
        "task": {"_name": "grounded_pretraining", "data": str(data), "normalize": True, "pruning": {"scope": scope}},
        "dataset": {"num_workers": 0, "batch_size": 24, "required_batch_size_multiple": 1,
                    "validate_interval": 10**6, "validate_interval_updates": updates},
        "criterion": {"_name": "grounded", "alpha": 1, "margin": 0.0, "code_weight": 0.5},
        "model": model | both | codes,
    }  # fmt: skip
