"""``fairseq-hydra-train`` with two arguments filled in: the folder of the recipes, and this plugin's own folder."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml

from fairseq_parp.commands.arguments import quoted
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import ConfigError, absolute, listing
from fairseq_parp.kinds import no_folder

ONLY_CTC = "only CTC is supported: parp_wav2vec_ctc or parp_hubert_ctc"

_NAME, _FOLDER = ("--config-name", "-cn"), ("--config-dir", "-cd")


def hydra_arguments(argv: Sequence[str]) -> list[str]:
    """Return the arguments of fairseq-hydra-train for those of ``fairseq-parp train``.

    Everything is passed on as it is. Where they are missing, ``--config-dir`` becomes the shipped recipes and
    ``common.user_dir`` this plugin, so that the command works from any folder.

    Raises:
        ConfigError: no recipe is named, or no recipe has that name.
    """
    folder, name = _value(argv, _FOLDER), _value(argv, _NAME)
    _require_ctc(argv, recipe(name, configs() if folder is None else Path(folder)))
    front = [] if folder else ["--config-dir", str(configs())]
    named = any(word.lstrip("+").startswith("common.user_dir=") for word in argv)
    # Beside the other overrides: hydra takes those of one place only.
    place = next((at for at, word in enumerate(argv) if "=" in word and not word.startswith("-")), len(argv))
    own = [] if named else [f"common.user_dir={quoted(PLUGIN)}"]
    return [*front, *argv[:place], *own, *argv[place:]]


def _require_ctc(argv: Sequence[str], file: Path) -> None:
    """Refuse a model with a decoder, on which fairseq stops before it imports the plugin."""
    asked = [word.partition("=")[2] for word in argv if word.lstrip("+").startswith("model._name=")]
    with contextlib.suppress(OSError, UnicodeDecodeError, KeyError, TypeError, yaml.YAMLError):
        asked = asked or [str(yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)["model"]["_name"])]
    for name in asked:
        if "seq2seq" in name:
            raise ConfigError("model._name", name, ONLY_CTC)


def recipe(name: str | None, folder: Path, key: str = "--config-name") -> Path:
    """Return the YAML of that name in a folder.

    Raises:
        ConfigError: there is no such folder, or no such file in it; with the name that it resembles.
    """
    if not folder.is_dir():
        raise ConfigError("--config-dir", absolute(folder), no_folder(folder))
    written = (name or "").removesuffix(".yaml")
    if written and (folder / f"{written}.yaml").is_file():
        return folder / f"{written}.yaml"
    files = folder.glob("*.yaml") if key == "--config-name" else folder.rglob("*.yaml")
    known = sorted(str(file.relative_to(folder).with_suffix("")) for file in files)
    close = difflib.get_close_matches(written, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    elsewhere = "; --config-dir names another folder" if key == "--config-name" else ""
    raise ConfigError(key, name, f"{hint}{absolute(folder)} has {listing(known, most=25)}{elsewhere}")


def _value(argv: Sequence[str], flags: tuple[str, ...]) -> str | None:
    """Return the value of an option of hydra, from the next argument or after an equals sign."""
    for word, after in zip(argv, [*argv[1:], ""], strict=True):
        if word in flags:
            return after
        if word.partition("=")[0] in flags:
            return word.partition("=")[2]
    return None
