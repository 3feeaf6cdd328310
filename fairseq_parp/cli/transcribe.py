"""``fairseq-parp transcribe``: print the text of audio files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from fairseq_parp.decoding.language_model import LanguageModel
from fairseq_parp.errors import AudioError
from fairseq_parp.transcription.transcriber import Transcriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="finetuned checkpoint")
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio files of any sampling rate")
    parser.add_argument("--beam", type=int, help="1: greedy (default); more: beam search (default 50 with --lm)")
    parser.add_argument("--lm", metavar="FILE", help="n-gram LM: ARPA file, or a binary of KenLM (with --lexicon)")
    parser.add_argument("--lexicon", metavar="FILE", help="spellings of words (default: those of --lm, by letters)")
    parser.add_argument("--lm-weight", type=float, metavar="W", help="of log10 probabilities (default 2)")
    parser.add_argument("--word-score", type=float, metavar="S", help="added for each word (default -1)")
    parser.add_argument("--dictionary", metavar="FILE", help="dict.ltr.txt of the labels, in place of the checkpoint's")
    parser.add_argument(
        "--override", metavar="KEY=VALUE", action="append", default=[], type=_override,
        help="of the checkpoint's config, such as model.w2v_path=FILE; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON list of {path, text}")


def run(arguments: argparse.Namespace) -> int:
    """Print ``path<TAB>text`` for each file as soon as it is known, for one file as for many.

    The status is 1 where a file could not be read.
    """
    lm = LanguageModel.if_named(arguments.lm, arguments.lexicon, arguments.lm_weight, arguments.word_score)
    transcriber = Transcriber(
        arguments.checkpoint, beam=arguments.beam, lm=lm, dictionary=arguments.dictionary,
        overrides=dict(arguments.override),
    )  # fmt: skip
    outcomes = _outcomes(transcriber, arguments.files)
    if arguments.json:
        found = list(outcomes)
        good = [{"path": path, "text": text} for path, text in found if isinstance(text, str)]
        print(json.dumps(good, ensure_ascii=False))
        return int(len(good) < len(found))
    failed = 0
    for path, text in outcomes:
        failed += not isinstance(text, str)
        if isinstance(text, str):
            tqdm.write(f"{path}\t{text}", file=sys.stdout)
            sys.stdout.flush()
    return int(failed > 0)


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _outcomes(transcriber: Transcriber, files: Sequence[str]) -> Iterator[tuple[str, str | AudioError]]:
    """Transcribe the files one by one; a bar on standard error if that is a terminal.

    A file that cannot be read is named on standard error and does not keep the others from being transcribed; so is
    one without text.
    """
    for path in tqdm(files, unit="file", disable=None if len(files) > 1 else True):
        try:
            text = transcriber(path)
        except AudioError as error:
            tqdm.write(f"fairseq-parp transcribe: {error}", file=sys.stderr)
            yield path, error
            continue
        if not text:
            note = "no text: the model emits only blanks here, as after a short training or in silence"
            tqdm.write(f"note: {path}: {note}", file=sys.stderr)
        yield path, text
