"""A file of each kind that the project reads or writes, and some of other kinds; small, and real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import in_process
import labelled
import made_up
import mms
import ngram_oracle as ngram
import numpy as np
import small
import texts
import tiny
import torch
import transformers_models
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file
from torch.nn.utils import prune

from fairseq_parp import cli
from fairseq_parp.environment.paths import configs
from fairseq_parp.experiments.results import write_results

PICTURES = [f"picture{number}" for number in range(small.PICTURES)]

TEXTS = {
    "empty": "",
    "text": "hello world\nhello\n",
    "results": "T-0\tAB\nD-0\t-1\tAB\nP-0\t-1 -1 -1\n",
    "table": "path\ttext\ntrain-0.flac\tAB\n",
    "digits": "path\ttext\tsplit\ntrain-0.flac\tONE TWO\ttrain\ntest-0.flac\tTWO\ttest\n",
    "lexicon": "AB\n",
    "languages": "path\tlanguage\nDATA/valid-0.flac\tnl\n",
    "ids": "".join(f"{name}\n" for name in PICTURES),
    "words": "valid-0 1 0.1 0.2 tone\n",
    "objects": "image\tobject\tleft\ttop\tright\tbottom\n"
    + "".join(f"{name}\ttone\t0\t0\t1\t1\n" for name in PICTURES),
}


def make(folder: Path, data: Path, pretrained: Path, finetuned: Path) -> dict[str, Path]:
    """Make the files, beside a data folder and checkpoints that are there; return their paths by kind."""
    found = {"finetuned": finetuned, "pretrained": pretrained, "data": data, "audio": data / "train-0.flac"}
    found |= {"dictionary": data / "dict.ltr.txt", "recipe": configs() / "base_10m.yaml"}
    found |= {"experiment": configs() / "experiments/sweep_base.yaml", "missing": folder / "missing"}
    found["record"] = tiny.ROOT / "docs/performance.tsv"
    for name, content in TEXTS.items():
        found[name] = folder / (f"{name}.tsv" if content.startswith("path") else name)
        found[name].write_text(content.replace("DATA", str(data)))
    found["folder"] = folder / "folder"
    found["folder"].mkdir()
    found["corpus"] = found["folder"]
    found["lm"] = ngram.write_arpa(folder / "lm.arpa")
    found["experiment results"] = folder / "experiment.tsv"
    write_results(found["experiment results"], [made_up.row("dense", 0), made_up.row("parp", 0.5)])
    found["mask"] = folder / "mask.safetensors"
    run("mask", "make", pretrained, "--sparsity", "0.5", "-o", found["mask"])
    found["item"] = folder / "train.item"
    run("align", finetuned, data, "--split", "train", "--speaker", r"([0-9])\.flac$", "-o", found["item"])
    run("export", finetuned, "--to", "compact", "--audio", found["audio"], "-o", folder / "compact")
    found["compact"] = folder / "compact/model.safetensors"
    found |= _foreign(folder) | _trained(folder, data, pretrained) | _of_texts(folder) | _with_pictures(folder)
    return found | _mms(folder) | _without_rights(folder)


def run(*words: str | Path) -> None:
    """Run one command that succeeds."""
    assert cli.main([str(word) for word in words]) == 0


def _foreign(folder: Path) -> dict[str, Path]:
    """Files of other projects."""
    found = {name: folder / f"{name}.pt" for name in ("foreign", "torch prune")}
    torch.save({"weights": torch.nn.Linear(2, 2).state_dict()}, found["foreign"])
    pruned = torch.nn.Sequential(torch.nn.Linear(3, 3))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    torch.save(pruned.state_dict(), found["torch prune"])
    found["transformers"] = folder / "model.safetensors"
    save_file({"wav2vec2.encoder.layers.0.attention.q_proj.weight": torch.ones(4, 4)}, found["transformers"])
    return found


def _trained(folder: Path, data: Path, pretrained: Path) -> dict[str, Path]:
    """A classifier of tones and its data, and a checkpoint that gives a part."""
    found = {"labelled": labelled.make_data(folder / "labelled", {"train": 3, "valid": 3})}
    in_process.train(labelled.recipe(found["labelled"], pretrained, 1), folder / "classifier", method="dense")
    recipe = in_process.speech(data, pretrained)
    recipe["task"] |= {"adapters": {"kind": "head_only"}}
    recipe["optimization"] |= {"max_update": 1}
    in_process.train(recipe, folder / "head", method="dense")
    names = {"classifier": "classifier", "of a part": "head"}
    found |= {kind: folder / name / "checkpoint_last.pt" for kind, name in names.items()}
    found["part"] = folder / "nl.safetensors"
    run("part", "extract", found["of a part"], "-o", found["part"])
    return found


def _of_texts(folder: Path) -> dict[str, Path]:
    """A classifier of texts, its data, the tables and the tokenizer."""
    found = {"binarised": texts.make_data(folder / "texts", {"train": 9, "valid": 4, "test": 3})}
    found |= {"sentences": folder / "texts/train.tsv", "tokenizer": found["binarised"] / "tokenizer"}
    recipe = in_process.common() | {"task": texts.task(found["binarised"]), "model": texts.MODEL}
    recipe |= {"dataset": {"num_workers": 0, "batch_size": 3}, "criterion": {"_name": "sentence_prediction"}}
    recipe["optimization"]["max_update"] = 1
    in_process.train(recipe, folder / "text classifier", method="dense")
    return found | {"text classifier": folder / "text classifier/checkpoint_last.pt"}


def _with_pictures(folder: Path) -> dict[str, Path]:
    """A grounded checkpoint, its data, features of pictures, and the pictures."""
    place = folder / "captioned"
    place.mkdir()
    recipe: Any = OmegaConf.create(small.recipe(place))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 3
    recipe.model.update(codes=6, code_width=8, code_warm_up=1)
    in_process.train(OmegaConf.to_container(recipe), folder / "grounded", method="dense")  # type: ignore[arg-type]
    found = {"grounded": folder / "grounded/checkpoint_last.pt", "captioned": place / "data"}
    found |= {"features": place / "data/images.safetensors", "pictures": folder / "pictures"}
    found["pictures"].mkdir()
    for number, name in enumerate(PICTURES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(found["pictures"] / name, "png")
    found |= {"picture": found["pictures"] / PICTURES[0], "photos": folder / "photos"}
    found["photos"].mkdir()
    Image.new("RGB", (8, 8)).save(found["photos"] / "photo.png")
    found |= {"array": folder / "features.npy", "boxes": folder / "boxes.npy"}
    np.save(found["array"], np.ones((small.PICTURES, small.REGIONS, 4), np.float32))
    np.save(found["boxes"], np.tile(np.array([0, 0, 0.5, 0.5], np.float32), (small.PICTURES, small.REGIONS, 1)))
    found["captions"] = folder / "captions.json"
    caption = {"text": "A", "speaker": "m1", "uttid": "x", "wav": "train-0.flac"}
    found["captions"].write_text(json.dumps({"data": [{"image": PICTURES[0], "captions": [caption]}]}))
    return found


def _mms(folder: Path) -> dict[str, Path]:
    """Models of transformers, one with the adapters of two languages, and what is made of them."""
    found = {"of transformers": folder / "transformers", "mms": folder / "mms.pt"}
    transformers_models.save(found["of transformers"], "base", "ForCTC")
    mms.save(folder / "mms")
    run("import", folder / "mms", "-o", found["mms"])
    found |= {"adapter": folder / "mms/adapter.nld.safetensors", "vocabulary": folder / "mms/vocab.json"}
    found["mms part"] = folder / "nld.safetensors"
    run("part", "import", found["mms"], found["adapter"], "--vocab", found["vocabulary"], "--language", "nld",
        "-o", found["mms part"])  # fmt: skip
    return found


def _without_rights(folder: Path) -> dict[str, Path]:
    """A file and a folder that only root can read."""
    found = {"without rights": folder / "unreadable", "folder without rights": folder / "closed"}
    found["without rights"].write_text("hello\n")
    found["folder without rights"].mkdir()
    for each in found.values():
        each.chmod(0)
    return found
