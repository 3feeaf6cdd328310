"""Reads an experiment's description, a small YAML, and checks it before the first run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.errors import ConfigError, absolute, first_line, listing, unknown_key
from fairseq_parp.experiments.base import BaseConfig, read_base
from fairseq_parp.experiments.procedures import BASELINE, HOLDER, PROCEDURES, facts_of, known, takes
from fairseq_parp.experiments.runs import PROTOCOLS, Run
from fairseq_parp.kinds import unreadable
from fairseq_parp.sparsity import read_config
from fairseq_parp.sparsity.counting import exact

KEYS = ("config", "checkpoint", "data", "test", "runs", "imp", "decoding", "settings", "variants", "launcher")
RUN_KEYS = (
    "train_on",
    "protocol",
    "method",
    "sparsity",
    "interval",
    "lr",
    "mask_from",
    "updates",
    "seed",
    "variant",
    "after",
    "after_updates",
)
"""Keys of an entry of ``runs``; at the top of the file they are defaults for all entries. A list is a grid."""

_DATA_KEYS = ("folder", "config", "checkpoint", "test", "settings")
_IMP_KEYS = ("rewind_update", "round_updates", "round_lr")
_DECODING_KEYS = ("beam", "checkpoint")


@dataclass(frozen=True)
class TrainingSet:
    """One data folder and its trainings.

    Attributes:
        name: its name in the description.
        folder: folder of its manifests.
        base: the fairseq config.
        checkpoint: the pretrained model; None for a pretraining from random weights.
        test: splits to decode or, of a pretraining, to validate; ``NAME/SPLIT`` is another training set's.
        settings: hydra overrides of its trainings.
    """

    name: str
    folder: Path
    base: BaseConfig
    checkpoint: Path | None
    test: tuple[str, ...]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imp:
    """The keys of IMP's rounds; None is the default.

    Attributes:
        rewind_update: the dense run's update that rounds start from; a tenth of the run.
        round_updates: length of a round; a sixth of the dense run.
        round_lr: its peak learning rate; the run's.
    """

    rewind_update: int | None = None
    round_updates: int | None = None
    round_lr: float | None = None


@dataclass(frozen=True)
class Experiment:
    """A description that was read and found good.

    Attributes:
        name: the file's.
        sets: training sets by name.
        runs: every finetuning it asks for, each once.
        imp: IMP's rounds.
        beam: 1 decodes greedily.
        decoded: checkpoint that is decoded, ``last`` or ``best``.
        settings: hydra overrides of every training.
        variants: hydra overrides that only some runs have, by name.
        launcher: hydra launcher's name and options, where the trainings are not to run here.
    """

    name: str
    sets: Mapping[str, TrainingSet]
    runs: Sequence[Run]
    imp: Imp
    beam: int
    decoded: str
    settings: Sequence[str]
    variants: Mapping[str, Sequence[str]]
    launcher: Mapping[str, Any]


def read_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check a description.

    Args:
        path: the YAML file.
        overrides: ``KEY=VALUE``, dots between nested keys, such as ``data.english=an4_10m``.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names it.
    """
    file = Path(path)
    content = _load(file, overrides)
    _known(content, [*KEYS, *RUN_KEYS], "")
    for key in ("checkpoint", "data", "runs"):
        if key not in content:
            raise ConfigError(key, None, f"{absolute(file)} must have it")
    sets = _sets(content, file.parent)
    variants = {
        str(name): _strings(f"variants.{name}", settings)
        for name, settings in _section(content, "variants", None).items()
    }
    runs = _runs(content, sets, variants)
    decoding = _section(content, "decoding", _DECODING_KEYS)
    return Experiment(
        name=file.stem,
        sets=sets,
        runs=runs,
        imp=_imp(_section(content, "imp", _IMP_KEYS)),
        beam=_whole("decoding.beam", decoding.get("beam", 1)),
        decoded=_one_of("decoding.checkpoint", decoding.get("checkpoint", "last"), ("last", "best")),
        settings=_strings("settings", content.get("settings", [])),
        variants=variants,
        launcher=_section(content, "launcher", None),
    )


def _load(file: Path, overrides: Sequence[str]) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("FILE", absolute(file), unreadable(file, error)) from None
    try:
        merged = OmegaConf.merge(OmegaConf.create(text), OmegaConf.from_dotlist(list(overrides)))
        content = OmegaConf.to_container(merged, resolve=True)
    except Exception as error:  # yaml and omegaconf have many
        raise ConfigError("FILE", absolute(file), f"cannot be read ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise ConfigError("FILE", absolute(file), "must be a mapping of keys to values")
    if not {"config", "data", "runs", "method", "sparsity"} & set(content):
        keys = listing(f"{key:.40}" for key in map(str, content)) or "no keys"
        reason = f"is not an experiment, it has {keys}; an experiment has config, data, method and others"
        raise ConfigError("FILE", absolute(file), reason)
    return {str(key): value for key, value in content.items()}


def _sets(content: Mapping[str, Any], beside: Path) -> dict[str, TrainingSet]:
    """Return the training sets; a single folder is a set of that name."""
    data = content["data"]
    named = data if isinstance(data, dict) else {Path(str(data)).name: data}
    sets: dict[str, TrainingSet] = {}
    for name, value in named.items():
        entry = value if isinstance(value, dict) else {"folder": value}
        _known(entry, _DATA_KEYS, f"data.{name}.")
        given = {key: entry.get(key, content.get(key)) for key in ("config", "checkpoint", "test")}
        for key, found in {"folder": entry.get("folder"), "config": given["config"]}.items():
            if not isinstance(found, str) or found == "???":
                raise ConfigError(f"data.{name}.{key}", found, "must be given: a path or a name")
        base = read_base(str(given["config"]), beside)
        test = tuple(_strings(f"data.{name}.test", _listed(given["test"] or "test")))
        own = tuple(_strings(f"data.{name}.settings", entry.get("settings", [])))
        start = given["checkpoint"]
        if start is None and not base.pretrains:
            raise ConfigError(
                f"data.{name}.checkpoint", None, "must be the pretrained model: only a pretraining has none"
            )
        checkpoint = None if start is None else Path(str(start))
        sets[str(name)] = TrainingSet(str(name), Path(entry["folder"]), base, checkpoint, test, own)
    if len({data.base.pretrains for data in sets.values()}) > 1:
        raise ConfigError("data", listing(sets), "mixes pretraining and finetuning; make two experiments of it")
    for name, split in ((name, split) for name, data in sets.items() for split in data.test if "/" in split):
        _one_of(f"data.{name}.test ({split})", split.partition("/")[0], tuple(sets))
    return sets


def _runs(content: Mapping[str, Any], sets: Mapping[str, TrainingSet], variants: Collection[str]) -> list[Run]:
    if not isinstance(content["runs"], list) or not content["runs"]:
        raise ConfigError("runs", content["runs"], "must be a list of runs, such as [{method: dense}]")
    defaults = {key: content[key] for key in RUN_KEYS if key in content}
    runs: dict[Run, None] = {}
    for number, entry in enumerate(content["runs"]):
        where = f"runs[{number}]"
        if not isinstance(entry, dict) or "method" not in defaults | entry:
            raise ConfigError(where, entry, "must be a mapping with a method")
        _known(entry, RUN_KEYS, f"{where}.")
        runs |= dict.fromkeys(_grid(where, defaults | entry, sets, variants))
    return _tagged(list(runs), sets)


def _grid(
    where: str, entry: Mapping[str, Any], sets: Mapping[str, TrainingSet], variants: Collection[str]
) -> Iterable[Run]:
    """Return every combination of an entry's lists."""
    axes = {"train_on": list(sets), "protocol": "matched", "seed": 1, "variant": ""} | dict(entry)
    ordered = {key: _listed(axes[key]) for key in RUN_KEYS if key in axes}
    for values in product(*ordered.values()):
        yield _run(where, dict(zip(ordered, values, strict=True)), sets, variants)


def _run(where: str, asked: Mapping[str, Any], sets: Mapping[str, TrainingSet], variants: Collection[str]) -> Run:
    """Check one combination, and fill in its defaults."""
    method = _one_of(f"{where}.method", asked["method"], known())
    protocol = _one_of(f"{where}.protocol", asked["protocol"], PROTOCOLS)
    data = _one_of(f"{where}.train_on", asked["train_on"], tuple(sets))
    base = sets[data].base
    mask_from = asked.get("mask_from")
    if mask_from is not None:
        _one_of(f"{where}.mask_from", mask_from, tuple(sets))
    if (mask_from is None) if method == HOLDER else (mask_from is not None and not takes(method, "mask")):
        others = ", ".join(name for name in known() if takes(name, "mask") and name != HOLDER)
        allowed = f"method {HOLDER} needs it: the training set whose OMP mask is held; of the others only {others}"
        raise ConfigError(f"{where}.mask_from", mask_from, f"{allowed} may start from one")
    after, after_updates = _first(where, asked, method, variants)
    return Run(
        data=data,
        protocol=protocol,
        method=method,
        sparsity=0.0 if method == BASELINE else _sparsity(f"{where}.sparsity", method, asked.get("sparsity")),
        interval=_interval(f"{where}.interval", asked.get("interval"), base, method),
        lr=_positive(f"{where}.lr", asked.get("lr") or base.get("optimization.lr", [None])[0]),
        mask_from=mask_from,
        updates=_whole(f"{where}.updates", asked.get("updates") or base.updates(method, protocol)),
        seed=_whole(f"{where}.seed", asked["seed"]),
        variant=asked["variant"] and _one_of(f"{where}.variant", asked["variant"], tuple(variants)),
        after=after,
        after_updates=after_updates,
    )


def _first(where: str, asked: Mapping[str, Any], method: str, variants: Collection[str]) -> tuple[str | None, int]:
    """Return the variant and the length of the training that a run continues; None and 0 without one."""
    after, updates = asked.get("after"), asked.get("after_updates")
    if after is None:
        if updates is not None:
            raise ConfigError(f"{where}.after_updates", updates, "needs after: the variant that is trained first")
        return None, 0
    if method in PROCEDURES:
        raise ConfigError(f"{where}.after", after, f"{method} has trainings of its own before its last one")
    return _one_of(f"{where}.after", after, tuple(variants)), _whole(f"{where}.after_updates", updates)


def _tagged(runs: Sequence[Run], sets: Mapping[str, TrainingSet]) -> list[Run]:
    """Give the runs different names, by the keys that the description varies.

    The released scripts give methods different lengths, so under ``paper`` a length is no variation.
    """
    rates = {(run.data, run.lr) for run in runs}
    lengths = {(run.data, each) for run in runs if run.protocol == "matched" for each in run.lengths}
    return [
        replace(
            run,
            tags=(
                *([run.data] if len(sets) > 1 else []),
                *([run.protocol] if run.protocol == "paper" else []),
                *([run.variant] if run.variant else []),
                *([f"after-{run.after}"] if run.after else []),
                *([f"lr{run.lr:g}"] if _several(rates, run) else []),
                *([f"updates{run.updates}"] if run.protocol == "matched" and _several(lengths, run) else []),
            ),
        )
        for run in runs
    ]


def _several(values: Iterable[tuple[str, float]], run: Run) -> bool:
    """Return whether the run's training set has more than one of the values."""
    return sum(data == run.data for data, _ in values) > 1


def _sparsity(key: str, method: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ConfigError(key, value, "must be a number in (0, 1)")
    if method == "imp" and (10 * exact(value)).denominator != 1:
        raise ConfigError(key, value, "IMP goes in steps of 10 %: give 0.1, 0.2, ... or 0.9")
    return float(value)


def _interval(key: str, value: Any, base: BaseConfig, method: str) -> int | None:
    if not facts_of(method).reprunes:
        return None
    if value == "never":
        try:
            read_config(method=method, interval=None)
        except ConfigError as error:
            raise ConfigError(key, value, error.allowed) from None
        return None
    return _whole(key, base.interval(method) if value is None else value)


def _imp(given: Mapping[str, Any]) -> Imp:
    rewind, length, lr = (given.get(key) for key in _IMP_KEYS)
    return Imp(
        None if rewind is None else _whole("imp.rewind_update", rewind),
        None if length is None else _whole("imp.round_updates", length),
        None if lr is None else _positive("imp.round_lr", lr),
    )


def _section(content: Mapping[str, Any], key: str, known: Sequence[str] | None) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(key, value, "must be a mapping")
    if known is not None:
        _known(value, known, f"{key}.")
    return value


def _known(values: Mapping[Any, Any], known: Sequence[str], prefix: str) -> None:
    for key, value in values.items():
        if key not in known:
            raise unknown_key(f"{prefix}{key}", value, str(key), known)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _strings(key: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(key, values, "must be a list of texts")
    return values


def _one_of(key: str, value: Any, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ConfigError(key, value, f"must be one of {', '.join(allowed)}")
    return str(value)


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(key, value, "must be a whole number >= 1")
    return value


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigError(key, value, "must be a number above 0")
    return float(value)
