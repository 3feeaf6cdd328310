"""``fairseq-parp abx``: the separation of phones in each layer of an encoder."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from tqdm import tqdm

from fairseq_parp.cli.outputs import OutputFolder, OutputPicture
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.abx.measuring import Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="any checkpoint of a wav2vec 2.0-like model")
    parser.add_argument("items", metavar="ITEMS", help="item file of a ZeroSpeech challenge, or of fairseq-parp align")
    parser.add_argument("--audio", metavar="FOLDER", required=True, help="folder of the audio files, or one above it")
    parser.add_argument("--plot", metavar="PNG", type=OutputPicture, help="also draw the errors over the layers")
    parser.add_argument(
        "--features", metavar="DIR", type=OutputFolder, help="also write each layer's frames: .npy files"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the errors of every layer."""
    from fairseq_parp.abx.measuring import measure
    from fairseq_parp.abx.picture import draw

    progress = partial(tqdm, unit="file", disable=None)
    found = measure(arguments.checkpoint, arguments.items, arguments.audio, progress, arguments.features)
    if arguments.plot:
        draw(found, arguments.plot)
    print(json.dumps(_plain(found), indent=2) if arguments.json else render(found))
    return 0


def render(found: Measured) -> str:
    """Return the table as text, the best layers named below it."""
    rows = [(name, _cell(each.within), _cell(each.across)) for name, each in found.layers.items()]
    one = next(iter(found.layers.values()))
    tokens = f"{found.tokens:,} tokens compared, {found.left_out:,} without a partner or a frame left out"
    lines = [
        tokens,
        f"frames of each layer: {found.rate:g} a second",
        f"pairs of phones: {one.pairs_within:,} within a speaker, {one.pairs_across:,} across speakers; chance is 50 %",
        "",
        *table(["layer", "within, %", "across, %"], rows),
        "",
    ]
    for kind in ("within", "across"):
        errors = {name: getattr(each, kind) for name, each in found.layers.items()}
        if math.isnan(next(iter(errors.values()))):
            alone = kind == "across" and found.speakers == 1
            lines.append(f"{kind}: {_ALONE if alone else f'no two phones in one context, {_WANTING[kind]}'}")
            continue
        best = min(errors, key=errors.__getitem__)
        lines.append(f"best {kind}: layer {best}, {errors[best]:.2f} %")
    return "\n".join(lines)


_ALONE = "all tokens are by one speaker, and X has to be by another; column 7 of ITEMS names the speaker"
_WANTING = {"within": "one of them said twice by a speaker", "across": "both by a speaker and one by another"}


def _cell(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.2f}"


def _plain(found: Measured) -> dict[str, object]:
    layers = {
        name: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in each.items()}
        for name, each in asdict(found)["layers"].items()
    }
    counts = {"tokens": found.tokens, "left_out": found.left_out, "speakers": found.speakers, "rate": found.rate}
    return {**counts, "layers": layers}
