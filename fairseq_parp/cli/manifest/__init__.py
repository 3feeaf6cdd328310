"""``fairseq-parp manifest``: build and check the data folders that fairseq trains on.

One module per action, of the same name. Problems with the data go to standard error, all of them, one line each, and
the exit status is 1.
"""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions
from fairseq_parp.cli.manifest.show import refuse
from fairseq_parp.errors import ManifestError

ACTIONS = {
    "captions": "build manifests of captions of pictures or clips: SpokenCOCO, Places, Flickr8k, MSR-VTT",
    "check": "check a data folder: files, audio, labels, dictionary",
    "commonvoice": "build manifests of Common Voice: one hour of each of ten languages, with phones",
    "librilight": "build manifests of Libri-light's 10 minutes, 1, 9 and 10 hours",
    "librispeech": "build manifests of LibriSpeech's subsets",
    "table": "build manifests from a user's own corpus: a table, a Kaldi folder, or text beside audio",
    "text": "binarise tables of texts and labels for a text encoder",
    "union": "join several data folders, with one dictionary",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action; return 0, or 1 if the data has problems."""
    try:
        return int(action(__name__, arguments.action).run(arguments))
    except ManifestError as error:
        return refuse(error.problems)
