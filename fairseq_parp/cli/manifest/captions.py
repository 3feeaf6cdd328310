"""``fairseq-parp manifest captions``: captions of pictures and clips, for grounded training."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from fairseq_parp.cli.manifest.show import size
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.manifests.captions import write_captions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "lists",
        metavar="SPLIT=LIST",
        type=_split,
        nargs="+",
        help="SpokenCOCO's, Places' or MSR-VTT's .json, a .txt of Flickr8k's pictures, a .csv of clips, "
        "such as train=SpokenCOCO_train.json",
    )
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        help="folder at which audio paths start; for Flickr8k the folder of wav2capt.txt (default: the folder of LIST)",
    )
    parser.add_argument(
        "--text", metavar="FILE", type=Path, help="file with the texts of LIST: Flickr8k.token.txt, MSR-VTT's .json"
    )
    parser.add_argument(
        "--audio", metavar="DIR", type=OutputFolder, help="convert all audio to 16 kHz mono FLACs in this folder"
    )
    parser.add_argument("--processes", metavar="N", type=int, help="converting processes (default: one per core)")


def _split(text: str) -> tuple[str, Path]:
    split, equals, file = text.partition("=")
    if not equals or not split or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not SPLIT=LIST, such as train=SpokenCOCO_train.json")
    return split, Path(file)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests."""
    if twice := [split for split, count in Counter(split for split, _ in arguments.lists).items() if count > 1]:
        raise ConfigError("SPLIT=LIST", twice[0], "is given twice; a split has one list")
    written = write_captions(
        dict(arguments.lists),
        arguments.out,
        root=arguments.root,
        text=arguments.text,
        audio=arguments.audio,
        processes=arguments.processes,
    )
    if arguments.audio:
        print(f"converted into {absolute(arguments.audio)}: {', '.join(written.conversion)}")
    for split, utterances in written.splits.items():
        frames, pictures = sum(each.frames for each in utterances), len({each.image for each in utterances})
        captions = size(split, len(utterances), frames) if frames else f"{split}: {len(utterances):,} written captions"
        print(f"{captions}, {pictures} pictures")
    if written.untexted:
        print(f"no .wrd: {written.untexted} captions have no text")
    print(f"written to {absolute(arguments.out)}")
    return 0
