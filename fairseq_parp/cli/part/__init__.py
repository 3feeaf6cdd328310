"""``fairseq-parp part``: small files over one pretrained model. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {
    "apply": "write the finetuned checkpoint that a part and its base are",
    "extract": "write what a finetuned checkpoint added to its pretrained model: mask, adapters, LoRA, head",
    "export": "write a part with MMS's adapters as transformers' load_adapter reads it",
    "import": "make a part of MMS's adapter.LANGUAGE.safetensors",
    "show": "what a part is made of, its base, language, dictionary and bytes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
