"""``fairseq-parp train``: fairseq-hydra-train from any folder, with the shipped recipes at hand."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

from fairseq_parp.commands.front import hydra_words
from fairseq_parp.errors import MissingToolError

PARSER = {"prefix_chars": "\0", "add_help": False}
"""Every word is passed on in its place, hydra's own options too."""

HELP = """usage: fairseq-parp train --config-name NAME [KEY=VALUE ...]

Runs fairseq-hydra-train with all arguments given. Two are filled in where they are missing: --config-dir is the
folder of the shipped recipes (fairseq-parp configs list), common.user_dir is this plugin.

example: fairseq-parp train --config-name base_10m task.data=DATA model.w2v_path=wav2vec_small.pt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("words", metavar="ARGUMENT", nargs="*")


def run(arguments: argparse.Namespace) -> int:
    """Become fairseq-hydra-train."""
    if not arguments.words or {"-h", "--help"} & set(arguments.words):
        print(HELP)
    else:
        words = hydra_words(arguments.words)
        if importlib.util.find_spec("fairseq_cli") is None:
            raise MissingToolError("fairseq is not installed; fairseq-parp doctor shows how to install it")
        os.execv(sys.executable, [sys.executable, "-m", "fairseq_cli.hydra_train", *words])
    return 0
