"""``fairseq-parp part``: small files over one pretrained model. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {
    "apply": "write the finetuned checkpoint of a part and its base",
    "extract": "write the result of a training over its base as a small file: mask, adapters, LoRA, head",
    "export": "write a part with MMS's adapters for transformers' load_adapter",
    "import": "convert MMS's adapter.LANGUAGE.safetensors to a part",
    "show": "print content, base, language, dictionary and bytes of a part",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
