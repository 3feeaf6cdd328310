"""Which parameters are pruned, and which of them share one threshold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from torch import nn

from fairseq_parp.errors import ScopeError, listing
from fairseq_parp.sparsity.sharing import distinct

_LAYER = r"(?!.*decoder)(?:.*\.)?layers\.\d+\."

PAPER_SCOPE = (
    _LAYER + r"self_attn\.[kvq]_proj\.(?:weight|bias)",
    _LAYER + r"self_attn\.out_proj\.(?:weight|bias)",
    _LAYER + r"fc[12]\.(?:weight|bias)",
)
"""PARP's prunable set: every encoder layer's q, k, v and out projections, fc1 and fc2, weight and bias.

wav2vec 2.0, HuBERT and data2vec-audio share these names.
"""

CONFORMER_SCOPE = (
    _LAYER + r"self_attn\.linear_(?:q|k|v|out)\.(?:weight|bias)",
    _LAYER + r"ffn[12]\.w_[12]\.(?:weight|bias)",
)
"""The same set in a conformer layer: its linear maps; not ``linear_pos``, not the convolutions."""

_KIND = re.compile(r"(?:.*\.)?layers\.\d+\.(?:self_attn\.)?(.+)\.(?:weight|bias)")
_LAYER_PREFIX = re.compile(r"((?:.*\.)?layers\.\d+)\.")

T = TypeVar("T")


def find_parameters(model: nn.Module, scope: str | Iterable[str] = "paper") -> dict[str, nn.Parameter]:
    """Return the parameters in ``scope`` by name, in the model's own order.

    Args:
        model: any module.
        scope: ``"paper"``, or exact parameter names and regular expressions (matched against the whole name).

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
    found = _paper(named) if scope == "paper" else _custom(named, [scope] if isinstance(scope, str) else list(scope))
    return [name for name in named if name in found]


def in_paper_scope(names: Iterable[str]) -> list[str]:
    """Return the names that the default scope finds; empty where there are none.

    >>> in_paper_scope(["encoder.layers.0.fc1.bias", "encoder.layers.0.final_layer_norm.bias", "proj.weight"])
    ['encoder.layers.0.fc1.bias']
    """
    patterns = [re.compile(expression) for expression in PAPER_SCOPE + CONFORMER_SCOPE]
    return [name for name in names if any(pattern.fullmatch(name) for pattern in patterns)]


def _paper(named: Mapping[str, object]) -> set[str]:
    found = set(in_paper_scope(named))
    if not found:
        raise ScopeError(f"scope 'paper' finds no Transformer or conformer layer among: {listing(named)}")
    return found


def _custom(named: Mapping[str, object], expressions: list[str]) -> set[str]:
    owner: dict[str, str] = {}
    for expression in expressions:
        matches = _match(named, expression)
        if not matches:
            raise ScopeError(f"task.pruning.scope: {expression!r} finds no parameter; there are: {listing(named)}")
        for name in matches:
            if name in owner:
                raise ScopeError(f"task.pruning.scope: {name} is found by both {owner[name]!r} and {expression!r}")
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


def layer_of(name: str) -> str:
    """Return the layer that a parameter belongs to; its module where the name has no layer.

    >>> layer_of("w2v_encoder.w2v_model.encoder.layers.3.fc1.weight"), layer_of("proj.bias")
    ('w2v_encoder.w2v_model.encoder.layers.3', 'proj')
    """
    match = _LAYER_PREFIX.match(name)
    return match.group(1) if match else name.rpartition(".")[0]


def kind_of(name: str) -> str:
    """Return the kind of module that a parameter belongs to, the same in every layer.

    >>> kind_of("encoder.layers.3.self_attn.k_proj.bias"), kind_of("encoder.layers.0.ffn1.w_1.weight")
    ('k_proj', 'ffn1.w_1')
    """
    match = _KIND.fullmatch(name)
    return match.group(1) if match else name.rpartition(".")[0]


GRANULARITIES: dict[str, Callable[[str], str]] = {
    "global": lambda _name: "",
    "layer": layer_of,
    "tensor": lambda name: name,
}


def groups(named: Mapping[str, T], granularity: str) -> list[dict[str, T]]:
    """Split parameters into the groups that share one threshold, keeping their order."""
    result: dict[str, dict[str, T]] = {}
    for name, value in named.items():
        result.setdefault(GRANULARITIES[granularity](name), {})[name] = value
    return list(result.values())
