"""The command ``fairseq-parp``: one module per verb, imported only when that verb is called.

Each verb's module has ``add_arguments(parser)`` and ``run(arguments) -> int`` (the exit status). A module may also have
``PARSER``, further arguments of the verb's parser.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import keyword
import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from types import ModuleType

from fairseq_parp import __version__
from fairseq_parp.cli.examples import example
from fairseq_parp.cli.outputs import require_writable
from fairseq_parp.errors import ParpError, absolute
from fairseq_parp.kinds import absent

VERBS = {
    "abx": "measure the separation of phones in each layer of an encoder: errors within and across speakers",
    "align": "write an item file for abx: start and end of each label of a manifest",
    "bench": "measure speed and memory beside other implementations: table, JSON and plot",
    "classify": "print label and probability of audio files or texts, or the accuracy over a split",
    "completion": "print the completion of this command for a shell",
    "codes": "print the codes that captions and pictures share: uses, words and objects, recall by codes alone",
    "configs": "list, show and copy the shipped recipes",
    "demo": "finetune a small wav2vec 2.0 with PARP and dense on synthesised speech; table and plot",
    "doctor": "show versions, and each fault of the environment with its remedy",
    "experiment": "plan and run the finetunings of an experiment file, and decode each: a table of results",
    "export": "write a checkpoint for transformers, ONNX or stock fairseq, or as a compact file, and compare both",
    "images": "compute features of pictures, or import them, for grounded training",
    "import": "convert a Hugging Face transformers folder to a fairseq checkpoint",
    "localise": "locate a word in a picture or clip: a heat map, or the pointing game",
    "manifest": "build and check manifests (tsv, ltr, wrd, dict)",
    "mask": "make, show, compare and apply masks",
    "part": "extract, show and apply small files that share one pretrained model",
    "plot": "draw pictures and print a summary of an experiment's results",
    "recipe": "convert a finetuning recipe of fairseq to one that prunes",
    "report": "print the sparsity of a checkpoint: overall, per layer, per kind of module",
    "retrieve": "measure recall between captions and pictures: intervals, rankings, a contact sheet",
    "score": "print unit and word error rate (UER, WER) of a fairseq-generate result file",
    "train": "run fairseq-hydra-train with the shipped recipes and this plugin",
    "transcribe": "print the text of audio files",
    "verify": "check that a pretrained file works here: family, counts, one update, one checkpoint",
}


def _module(verb: str) -> ModuleType:
    """Import a verb's module; that of ``import``, a keyword of Python, ends in an underscore."""
    return importlib.import_module(f"fairseq_parp.cli.{verb}{'_' * keyword.iskeyword(verb)}")


def command_parser(verbs: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser of the command; ``verbs`` alone have their arguments, and their modules alone are imported."""
    parser = argparse.ArgumentParser(
        prog="fairseq-parp",
        description="PARP finetuning of wav2vec 2.0 in fairseq.",
        epilog="fairseq-parp VERB --help has the arguments of a verb and an example",
    )
    parser.add_argument("--version", action="version", version=f"fairseq_parp {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        module = _module(name) if name in verbs else None
        verb = subparsers.add_parser(
            name, help=summary, description=summary, epilog=example(name), **getattr(module, "PARSER", {})
        )
        if module:
            module.add_arguments(verb)
    return parser


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """Parse the command line; only the given verb's module is imported."""
    parser = command_parser(argv[:1])
    arguments, others = parser.parse_known_args(argv)
    overrides = getattr(arguments, "overrides", None)  # argparse takes those before an option alone
    if others and (overrides is None or any(word.startswith("-") for word in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if overrides is not None:
        overrides += others
    return arguments.verb, arguments


@contextlib.contextmanager
def _own_words_only() -> Iterator[None]:
    """Keep warnings of libraries, and the logs of fairseq and hydra, off the terminal, unless python -W is set."""
    if sys.warnoptions:
        yield
        return
    loggers = [logging.getLogger(name) for name in ("fairseq", "hydra")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _shown(error: OSError) -> str:
    """Return the path that an error of the operating system names, and the reason."""
    named = error.filename2 or error.filename
    if not isinstance(named, str):
        return str(error.strerror or error)
    reads = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR) and error.strerror == os.strerror(error.errno)
    return f"{absolute(named)}: {absent(named) if reads else error.strerror}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake ends in one line on standard error and status 2."""
    verb, arguments = parse(sys.argv[1:] if argv is None else list(argv))
    try:
        require_writable(arguments)
        with _own_words_only():
            return int(_module(verb).run(arguments))
    except ParpError as error:
        print(f"fairseq-parp {verb}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "fairseq_parp":
            raise
        reason = f"needs {error.name}, which is not installed; fairseq-parp doctor shows how to install it"
        print(f"fairseq-parp {verb}: {reason}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"fairseq-parp {verb}: {_shown(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fairseq-parp {verb}: interrupted", file=sys.stderr)
        return 130
