"""``fairseq-parp import``: a folder of Hugging Face transformers as a fairseq checkpoint."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.outputs import OutputFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="wav2vec 2.0, HuBERT or data2vec audio, as save_pretrained writes it"
    )
    parser.add_argument("-o", "--out", metavar="CKPT", type=OutputFile, required=True, help="checkpoint to write")
    parser.add_argument(
        "--normalize", choices=("true", "false"),
        help="zero mean and unit variance of the audio (default: as the folder's feature extractor)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing checkpoint")


def run(arguments: argparse.Namespace) -> int:
    """Import, and print the facts of the checkpoint."""
    from fairseq_parp.export.importing import import_folder

    normalize = None if arguments.normalize is None else arguments.normalize == "true"
    done = import_folder(arguments.folder, arguments.out, normalize=normalize, force=arguments.force)
    encoder = done.encoder
    normalized = str(done.normalize).lower()
    print(f"encoder: {encoder.family}, {encoder.layers} layers, width {encoder.width}, task.normalize={normalized}")
    print(f"head: {done.symbols} symbols" if done.symbols else "head: none; for model.w2v_path")
    for name in done.left:
        print(f"not in the checkpoint: {name}")
    print(f"written: {done.path}")
    return 0
