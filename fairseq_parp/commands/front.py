"""``fairseq-hydra-train`` with two arguments filled in: the folder of the recipes, and this plugin's own folder."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fairseq_parp.commands.arguments import quoted
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import ConfigError, absolute, listing
from fairseq_parp.kinds import no_folder

ONLY_CTC = "only CTC is supported: parp_wav2vec_ctc or parp_hubert_ctc"

OPEN = ("task", "model", "criterion", "optimizer", "lr_scheduler")
"""Groups of fairseq's config that have the recipe's keys alone; the others have every key of fairseq."""

_NAME, _FOLDER = ("--config-name", "-cn"), ("--config-dir", "-cd")


def hydra_arguments(argv: Sequence[str]) -> list[str]:
    """Return the arguments of fairseq-hydra-train for those of ``fairseq-parp train``.

    Everything is passed on as it is. Where they are missing, ``--config-dir`` becomes the shipped recipes and
    ``common.user_dir`` this plugin, so that the command works from any folder.

    Raises:
        ConfigError: no recipe is named, no recipe has that name, or the recipe lacks a key that is overridden.
    """
    folder, name = _value(argv, _FOLDER), _value(argv, _NAME)
    file = recipe(name, configs() if folder is None else Path(folder))
    _require_ctc(argv, file)
    _require_keys(argv, file)
    front = [] if folder else ["--config-dir", str(configs())]
    named = any(word.lstrip("+").startswith("common.user_dir=") for word in argv)
    # Beside the other overrides: hydra takes those of one place only.
    place = next((at for at, word in enumerate(argv) if "=" in word and not word.startswith("-")), len(argv))
    own = [] if named else [f"common.user_dir={quoted(PLUGIN)}"]
    return [*front, *argv[:place], *own, *argv[place:]]


def _require_ctc(argv: Sequence[str], file: Path) -> None:
    """Refuse a model with a decoder, on which fairseq stops before it imports the plugin."""
    asked = [word.partition("=")[2] for word in argv if word.lstrip("+").startswith("model._name=")]
    with contextlib.suppress(KeyError, TypeError):
        asked = asked or [str(_content(file)["model"]["_name"])]
    for name in asked:
        if "seq2seq" in name:
            raise ConfigError("model._name", name, ONLY_CTC)


def _require_keys(argv: Sequence[str], file: Path) -> None:
    """Refuse another value of a key that the recipe lacks; hydra would propose to add it, however it is spelt."""
    content = _content(file)
    if "defaults" in content:  # it takes keys of other files
        return
    for key, _, value in (word.partition("=") for word in argv if "=" in word):
        group, *parts = key.split(".")
        node: Any = content.get(group) if group in OPEN else None
        for part in parts:
            if not isinstance(node, dict):
                break
            if part not in node:
                close = difflib.get_close_matches(part, node, n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                reason = f"{file.name} has no such key; {hint}A key that it does not set is added by +{key}={value}"
                raise ConfigError(key, value, reason)
            node = node[part]


def _content(file: Path) -> dict[str, Any]:
    """Return a recipe; an empty one where hydra will report that it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        return found if isinstance(found, dict) else {}
    return {}


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
