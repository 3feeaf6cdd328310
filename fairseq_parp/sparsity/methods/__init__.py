"""The pruning methods, and the keys that each takes. To add one, see docs/extending.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import ConfigError, unknown_key
from fairseq_parp.registry import Registry
from fairseq_parp.sparsity.config import PREFIX, PruningConfig, frozen
from fairseq_parp.sparsity.methods.base import Facts, Method
from fairseq_parp.sparsity.methods.dense import Dense
from fairseq_parp.sparsity.methods.drop_and_grow import Rigl, Set
from fairseq_parp.sparsity.methods.gmp import Gmp
from fairseq_parp.sparsity.methods.parp import Parp, ParpP
from fairseq_parp.sparsity.methods.s3_router import S3Router
from fairseq_parp.sparsity.methods.static import Fixed, Mpi, Rp
from fairseq_parp.sparsity.methods.ste import Ste
from fairseq_parp.sparsity.upgrade import upgraded_keys


def _has_facts(method: type[Method]) -> None:
    if not isinstance(getattr(method, "facts", None), Facts):
        raise ValueError(f"{method.__name__}.facts must be {Facts.__name__}(label, ...): tables and pictures read them")


METHODS: Registry[type[Method]] = Registry(f"{PREFIX}.method", _has_facts)

METHODS.register("dense", Dense)
METHODS.register("parp", Parp)
METHODS.register("parp_p", ParpP)
METHODS.register("mpi", Mpi)
METHODS.register("rp", Rp)
METHODS.register("fixed", Fixed)
METHODS.register("gmp", Gmp)
METHODS.register("rigl", Rigl)
METHODS.register("set", Set)
METHODS.register("ste", Ste)
METHODS.register("s3_router", S3Router)


def read_config(raw: Mapping[str, Any] | None = None, **keys: Any) -> PruningConfig:
    """Return the config of a method from the keys of ``task.pruning``; without keys, PARP's defaults.

    >>> read_config(method="parp_p", sparsity=0.7).interval
    50

    Args:
        raw: keys of a YAML file or command line; a null is ignored if only another method has the key.
        keys: further keys, such as ``method``, ``sparsity``, ``interval`` and ``scope`` (docs/training.md lists all).

    Raises:
        ConfigError: a key does not exist or belongs to another method, or a value is not allowed.
    """
    if raw is not None and not isinstance(raw, Mapping):
        raise ConfigError(PREFIX, raw, f"must be a mapping with keys among {', '.join(PruningConfig.names())}")
    given = upgraded_keys({**(raw or {}), **keys})
    method = given.get("method", "parp")
    cls = METHODS[method].config_class
    values = {key: frozen(value) for key, value in given.items() if _is_for(cls, str(method), key, value)}
    return cls(**values)


def _is_for(cls: type[PruningConfig], method: str, key: str, value: Any) -> bool:
    """Return whether a key and its value are this method's; a null that is another method's leaves the default."""
    owners = {name: METHODS[name].config_class for name in METHODS if key in METHODS[name].config_class.names()}
    if key in cls.names():
        return value is not None or cls.can_be_null(key) or not any(each.can_be_null(key) for each in owners.values())
    if not owners:
        raise unknown_key(f"{PREFIX}.{key}", value, key, cls.names())
    if value is not None:
        which = f"method{'s' * (len(owners) > 1)} {', '.join(owners)}"
        raise ConfigError(f"{PREFIX}.{key}", value, f"is for {which}, not {method}; leave it null")
    return False


def build_method(config: PruningConfig, last_update: int | None) -> Method:
    """Return the method that ``config`` names, for a run that ends after ``last_update`` updates (None: unknown).

    Raises:
        ConfigError: the method needs something that the run does not give.
    """
    return METHODS[config.method](config, last_update)


__all__ = ["METHODS", "Facts", "Method", "build_method", "read_config"]
