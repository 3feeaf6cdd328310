"""``fairseq-parp transcribe``: print the text of audio files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from fairseq_parp.errors import AudioError, ConfigError
from fairseq_parp.transcription.formats import FORMATS, as_json, as_srt

if TYPE_CHECKING:
    from fairseq_parp.transcription.timing import Transcript
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
    parser.add_argument(
        "--format", choices=FORMATS, default="txt",
        help="txt: a line per file (default); srt: subtitles of one file; json: texts, and times of words in seconds",
    )  # fmt: skip
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def run(arguments: argparse.Namespace) -> int:
    """Print each file's text as soon as it is known; as JSON all files at the end.

    The status is 1 where a file could not be read.
    """
    if arguments.format == "srt" and len(arguments.files) > 1:
        raise ConfigError("--format", "srt", "subtitles are of one recording; name one FILE")
    from fairseq_parp.decoding.language_model import LanguageModel
    from fairseq_parp.transcription.transcriber import Transcriber

    lm = LanguageModel.if_named(arguments.lm, arguments.lexicon, arguments.lm_weight, arguments.word_score)
    transcriber = Transcriber(
        arguments.checkpoint, beam=arguments.beam, lm=lm, dictionary=arguments.dictionary,
        overrides=dict(arguments.override),
    )  # fmt: skip
    outcomes = _outcomes(transcriber, arguments.files)
    failed, listed = 0, []
    for path, found in outcomes:
        if isinstance(found, AudioError):
            failed += 1
        elif arguments.format == "json":
            listed.append(as_json(path, found))
        else:
            shown = f"{path}\t{found.text}\n" if arguments.format == "txt" else as_srt(found)
            tqdm.write(shown, file=sys.stdout, end="")
            sys.stdout.flush()
    if arguments.format == "json":
        print(json.dumps(listed, ensure_ascii=False))
    return int(failed > 0)


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _outcomes(transcriber: Transcriber, files: Sequence[str]) -> Iterator[tuple[str, Transcript | AudioError]]:
    """Transcribe the files one by one; a bar on standard error if that is a terminal.

    A file that cannot be read is named on standard error and does not keep the others from being transcribed; so is
    one without text.
    """
    for path in tqdm(files, unit="file", disable=None if len(files) > 1 else True):
        try:
            found = transcriber.timed(path)
        except AudioError as error:
            tqdm.write(f"fairseq-parp transcribe: {error}", file=sys.stderr)
            yield path, error
            continue
        if not found.words:
            note = "no text: the model emits only blanks here, as after a short training or in silence"
            tqdm.write(f"note: {path}: {note}", file=sys.stderr)
        yield path, found
