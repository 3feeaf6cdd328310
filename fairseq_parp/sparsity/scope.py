"""The prunable parameters.

PARP's prunable set, the scope ``paper``, is every encoder layer's linear maps with their biases: the q, k, v and out
projections, fc1 and fc2, and their counterparts in other families (:mod:`fairseq_parp.architectures`). The scope
``ffn`` is the feed-forward part of it, fc1 and fc2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import nn

from fairseq_parp.architectures import ARCHITECTURES, distinct_families, is_adapter
from fairseq_parp.errors import ScopeError, listing
from fairseq_parp.sparsity.sharing import distinct

PRESETS: dict[str, tuple[str, ...] | None] = {"paper": None, "ffn": ("fc1", "fc2")}
"""Scopes with a name, and the kinds of linear maps in each; None is all."""


def find_parameters(model: nn.Module, scope: str | Iterable[str] = "paper") -> dict[str, nn.Parameter]:
    """Return the parameters in ``scope`` by name, in the model's own order.

    Args:
        model: any module.
        scope: one of :data:`PRESETS`, or exact names and regular expressions (matched against the whole name).

    A tensor that the model holds under several names counts once, under its first name
    (:mod:`~fairseq_parp.sparsity.sharing`).

    Raises:
        ScopeError: an expression finds nothing, or two expressions find the same parameter.
    """
    named = distinct(dict(model.named_parameters()))
    return {name: named[name] for name in find_names(named, scope)}


def find_names(names: Iterable[str], scope: str | Iterable[str] = "paper") -> list[str]:
    """Return the ``names`` that are in ``scope``, in their own order; see :func:`find_parameters`.

    Raises:
        ScopeError: an expression finds nothing, or two expressions find the same name.
    """
    named = dict.fromkeys(names)
    expressions = [scope] if isinstance(scope, str) else list(scope)
    preset = expressions[0] if len(expressions) == 1 and expressions[0] in PRESETS else None
    found = _custom(named, expressions) if preset is None else _preset(named, preset)
    return [name for name in named if name in found]


def in_paper_scope(names: Iterable[str]) -> list[str]:
    """Return the names that the default scope finds, or an empty list.

    >>> in_paper_scope(["encoder.layers.0.fc1.bias", "encoder.layers.0.final_layer_norm.bias", "proj.weight"])
    ['encoder.layers.0.fc1.bias']
    """
    families = distinct_families()
    return [name for name in names if any(family.map_of(name) for family in families)]


def _preset(named: Mapping[str, object], scope: str) -> set[str]:
    kinds, families = PRESETS[scope], distinct_families()
    maps = {name: next(filter(None, (family.map_of(name) for family in families)), None) for name in named}
    found = {name for name, each in maps.items() if each and (kinds is None or each.kind.partition(".")[0] in kinds)}
    if not found:
        known = ", ".join(ARCHITECTURES)
        raise ScopeError(
            f"scope {scope!r} matches no layer of a known architecture ({known}) among: {listing(named)}; "
            "for another model give task.pruning.scope a list of parameter names or regular expressions"
        )
    return found


def _custom(named: Mapping[str, object], expressions: list[str]) -> set[str]:
    owner: dict[str, str] = {}
    for expression in expressions:
        matches = _match(named, expression)
        taken = next(filter(is_adapter, matches), None)
        if taken and not re.search("adapter|lora", expression):
            way_out = "name adapter or lora in the expression to prune them, or leave them out: (?!.*adapter)..."
            raise ScopeError(f"task.pruning.scope: {expression!r} takes the adapter weight {taken} unasked; {way_out}")
        if not matches:
            raise ScopeError(
                f"task.pruning.scope: {expression!r} matches no parameter; the model has: {listing(named)}"
            )
        for name in matches:
            if name in owner:
                raise ScopeError(f"task.pruning.scope: {name} is matched by both {owner[name]!r} and {expression!r}")
            owner[name] = expression
    return set(owner)


def _match(named: Mapping[str, object], expression: str) -> list[str]:
    if expression in named:
        return [expression]
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ScopeError(f"task.pruning.scope: {expression!r} is not a regular expression: {error}") from None
    return [name for name in named if pattern.fullmatch(name)]
