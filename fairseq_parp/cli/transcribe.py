"""``fairseq-parp transcribe``: print the text of audio files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from fairseq_parp.errors import AudioError, ConfigError
from fairseq_parp.transcription.formats import FORMATS, as_json, as_srt

if TYPE_CHECKING:
    from fairseq_parp.transcription.timing import Transcript

_Facts = Mapping[str, str]
_File = tuple[str, _Facts]
"""A path, and its columns in the output: the language, if there are several."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", nargs="?", help="finetuned checkpoint")
    parser.add_argument("files", metavar="FILE", nargs="*", help="audio files of any sampling rate")
    several = parser.add_argument_group("several languages over one base, instead of CKPT and FILE")
    several.add_argument("--base", metavar="BASE", help="pretrained checkpoint of all parts")
    several.add_argument(
        "--part", metavar="LANGUAGE=FILE", dest="parts", action="append", default=[], type=_pair,
        help="a part (fairseq-parp part extract) and its language; may be repeated",
    )  # fmt: skip
    several.add_argument("--table", metavar="TSV", help="audio files and languages: columns path and language")
    parser.add_argument("--beam", type=int, help="1: greedy (default); more: beam search (default 50 with --lm)")
    parser.add_argument("--lm", metavar="FILE", help="n-gram LM: ARPA file, or a binary of KenLM (with --lexicon)")
    parser.add_argument("--lexicon", metavar="FILE", help="spellings of words (default: those of --lm, by letters)")
    parser.add_argument("--lm-weight", type=float, metavar="W", help="weight of log10 probabilities (default 2)")
    parser.add_argument("--word-score", type=float, metavar="S", help="score added for each word (default -1)")
    parser.add_argument("--dictionary", metavar="FILE", help="dict.ltr.txt of the labels, instead of the checkpoint's")
    add_override(parser)
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

    if arguments.base or arguments.parts or arguments.table:
        return _show(arguments.format, *_of_parts(arguments))
    if not arguments.checkpoint or not arguments.files:
        raise ConfigError("CKPT FILE", None, "name a checkpoint and audio files; or --base, --part and --table")
    lm = LanguageModel.if_named(arguments.lm, arguments.lexicon, arguments.lm_weight, arguments.word_score)
    transcriber = Transcriber(
        arguments.checkpoint, beam=arguments.beam, lm=lm, dictionary=arguments.dictionary,
        overrides=dict(arguments.override),
    )  # fmt: skip
    return _show(arguments.format, [(path, {}) for path in arguments.files], lambda path, _: transcriber.timed(path))


def _of_parts(arguments: argparse.Namespace) -> tuple[Sequence[_File], Callable[[str, _Facts], Transcript]]:
    """Return the files of a table, with their languages, and their transcriber.

    Raises:
        ConfigError: options do not fit together; two parts of one language; a language that is not loaded.
        CheckpointError, ManifestError, PartError: the base, the table or a part cannot be used.
    """
    for name in ("base", "parts", "table"):
        if not getattr(arguments, name):
            needed = "--base, --part and --table go together"
            raise ConfigError(f"--{name.removesuffix('s')}", getattr(arguments, name), needed)
    for name, where in (
        ("checkpoint", "CKPT"),
        ("lm", "--lm"),
        ("dictionary", "--dictionary"),
        ("override", "--override"),
    ):
        if getattr(arguments, name):
            allowed = "is for one checkpoint; with --base, each part has its own head and dictionary"
            raise ConfigError(where, getattr(arguments, name), allowed)
    if arguments.format == "srt":
        raise ConfigError("--format", "srt", "subtitles are of one recording; with --table choose txt or json")
    parts: dict[str, str] = {}
    for language, file in arguments.parts:
        if language in parts:
            raise ConfigError("--part", f"{language}={file}", f"two parts of one name; {language} is {parts[language]}")
        parts[language] = file
    from fairseq_parp.parts.transcribing import PartsTranscriber, read_table

    recordings = read_table(arguments.table, parts)
    transcriber = PartsTranscriber(arguments.base, parts, beam=arguments.beam)
    files = [(str(each.path), {"language": each.language}) for each in recordings]
    return files, lambda path, facts: transcriber.timed(path, facts["language"])


def _show(form: str, files: Sequence[_File], transcribe: Callable[[str, _Facts], Transcript]) -> int:
    """Print each file's text as soon as it is known; as JSON all files at the end. Return the exit status."""
    failed, listed = 0, []
    for path, facts, found in _outcomes(files, transcribe):
        if isinstance(found, AudioError):
            failed += 1
        elif form == "json":
            listed.append({**as_json(path, found), **facts})
        else:
            shown = "\t".join((path, *facts.values(), found.text)) + "\n" if form == "txt" else as_srt(found)
            tqdm.write(shown, file=sys.stdout, end="")
            sys.stdout.flush()
    if form == "json":
        print(json.dumps(listed, ensure_ascii=False))
    return int(failed > 0)


def add_override(parser: argparse.ArgumentParser) -> None:
    """Declare the option that changes the checkpoint's config."""
    parser.add_argument(
        "--override", metavar="KEY=VALUE", action="append", default=[], type=_pair,
        help="change a key of the checkpoint's config, such as model.w2v_path=FILE; may be repeated",
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _outcomes(
    files: Sequence[_File], transcribe: Callable[[str, _Facts], Transcript]
) -> Iterator[tuple[str, _Facts, Transcript | AudioError]]:
    """Transcribe the files one by one; a bar on standard error if that is a terminal.

    A file that cannot be read is named on standard error and does not keep the others from being transcribed; so is
    one without text.
    """
    for path, facts in tqdm(files, unit="file", disable=None if len(files) > 1 else True):
        try:
            found = transcribe(path, facts)
        except AudioError as error:
            tqdm.write(f"fairseq-parp transcribe: {error}", file=sys.stderr)
            yield path, facts, error
            continue
        if not found.words:
            note = "no text: the model emits only blanks here, as after a short training or in silence"
            tqdm.write(f"note: {path}: {note}", file=sys.stderr)
        yield path, facts, found
