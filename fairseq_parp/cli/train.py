"""``fairseq-parp train``: fairseq-hydra-train from any folder, with the shipped recipes at hand."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

from fairseq_parp.commands.front import hydra_arguments
from fairseq_parp.errors import MissingToolError

PARSER = {"prefix_chars": "\0", "add_help": False}
"""Every word is passed on in its place, hydra's own options too."""

HELP = """usage: fairseq-parp train --config-name NAME [KEY=VALUE ...]

Runs fairseq-hydra-train with all arguments given. Two are filled in where they are missing: --config-dir is the
folder of the shipped recipes (fairseq-parp configs list), common.user_dir is this plugin.

example: fairseq-parp train --config-name base_10m task.data=DATA model.w2v_path=wav2vec_small.pt"""


TRAIN = """import logging
logging.getLogger().addHandler(logging.NullHandler())
from fairseq_cli.hydra_train import cli_main
cli_main()"""
"""fairseq-hydra-train; the root's handler keeps modules of fairseq from logging to the terminal on their import."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("argv", metavar="ARGUMENT", nargs="*")


def run(arguments: argparse.Namespace) -> int:
    """Become fairseq-hydra-train."""
    if not arguments.argv or {"-h", "--help"} & set(arguments.argv):
        print(HELP)
    else:
        argv = hydra_arguments(arguments.argv)
        if importlib.util.find_spec("fairseq_cli") is None:
            raise MissingToolError("fairseq is not installed; fairseq-parp doctor shows how to install it")
        chosen = sys.warnoptions or "PYTHONWARNINGS" in os.environ  # by the user; else hydra's and torch's are noise
        quiet = [] if chosen else ["-W", "ignore"]
        os.execv(sys.executable, [sys.executable, *quiet, "-c", TRAIN, *argv])
    return 0
