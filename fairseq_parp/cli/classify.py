"""``fairseq-parp classify``: the label of each input, or the accuracy over a split."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from fairseq_parp.cli.outputs import OutputFile, OutputPicture
from fairseq_parp.cli.transcribe import add_override
from fairseq_parp.errors import ConfigError, ParpError
from fairseq_parp.files import write_whole

if TYPE_CHECKING:
    from fairseq_parp.classification.registry import Prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="finetuned classifier")
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="audio files, or text files with one text on each line"
    )
    parser.add_argument("--data", metavar="DIR", help="data folder: print the accuracy over one of its splits")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--plot", metavar="PNG", type=OutputPicture, help="with --data: also draw the confusion matrix")
    parser.add_argument(
        "--results", metavar="FILE", type=OutputFile, help="with --data: also write it for fairseq-parp score"
    )
    add_override(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of input, label and probability")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each input as soon as its label is known, or the accuracy; as JSON all at the end.

    The status is 1 where an input could not be read.
    """
    if bool(arguments.files) == bool(arguments.data):
        raise ConfigError("FILE", " ".join(arguments.files), "name inputs, or a data folder by --data; one of them")
    for option in ("plot", "results"):
        if (given := getattr(arguments, option)) and not arguments.data:
            raise ConfigError(f"--{option}", given, "needs true labels: --data names the folder that has them")
    from fairseq_parp.classification.registry import load_classifier

    classifier = load_classifier(arguments.checkpoint, dict(arguments.override))
    if arguments.data:
        examples = classifier.classify_split(arguments.data, arguments.split)
        found = list(tqdm(examples, unit="example", disable=None))
        return _report(found, classifier.labels, arguments)
    return _listed(classifier.classify(arguments.files), as_json=arguments.json)


def _listed(outcomes: Iterable[Prediction | ParpError], *, as_json: bool) -> int:
    failed, listed = 0, []
    for found in outcomes:
        if isinstance(found, ParpError):
            failed += 1
            print(f"fairseq-parp classify: {found}", file=sys.stderr)
        elif as_json:
            listed.append(_as_json(found))
        else:
            print(f"{found.item}\t{found.label}\t{found.probability:.4f}", flush=True)
    if as_json:
        print(json.dumps(listed, ensure_ascii=False))
    return int(failed > 0)


def _report(found: Sequence[Prediction], labels: Sequence[str], arguments: argparse.Namespace) -> int:
    """Print the accuracy over a split, and draw the confusion matrix if asked."""
    from fairseq_parp.scoring.accuracy import LEVEL, accuracy_of, commonest

    true, given = [str(each.true) for each in found], [each.label for each in found]
    accuracy, least = accuracy_of(true, given), commonest(true)
    low, high = accuracy.interval()
    if arguments.json:
        numbers = {"accuracy": accuracy.value, "low": low, "high": high, "commonest": least.value}
        shown = accuracy._asdict() | numbers | {"examples": [_as_json(each) for each in found]}
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print(f"accuracy {accuracy.value:.1%} ({accuracy.correct} of {accuracy.total}), {arguments.split}")
        print(f"{LEVEL:.0%} interval {low:.1%} to {high:.1%}; the commonest label alone gives {least.value:.1%}")
    if arguments.results:
        write_whole(arguments.results, _results(found).encode())
    if arguments.plot:
        from fairseq_parp.classification.confusion import confusion, draw

        used = [label for label in labels if label in {*true, *given}]
        title = f"{arguments.split}: accuracy {accuracy.value:.1%} ({accuracy.correct} of {accuracy.total})"
        draw(confusion(true, given, used), used, title, arguments.plot)
    return 0


def _results(found: Sequence[Prediction]) -> str:
    """Return the lines that fairseq-generate would write: target, hypothesis, and its natural log-probability."""
    lines = []
    for number, each in enumerate(found):
        score = f"{math.log(max(each.probability, 1e-30)):.4f}"
        lines += [f"T-{number}\t{each.true}", f"H-{number}\t{score}\t{each.label}"]
        lines += [f"D-{number}\t{score}\t{each.label}", f"P-{number}\t{score}"]
    return "\n".join([*lines, ""])


def _as_json(found: Prediction) -> dict[str, object]:
    """Return a prediction without its unknown values."""
    return {key: value for key, value in found._asdict().items() if value is not None}
