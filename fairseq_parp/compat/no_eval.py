"""A checkpoint's config is not run as code.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. Building a model calls ``eval`` on
``conv_feature_layers`` and the like, which come out of the checkpoint: a file that loads safely runs code after all.
Inside fairseq's modules ``eval`` becomes a reader of literals, sums and products, such as ``[(512, 3, 2)] * 4``.
"""

from __future__ import annotations

import ast
import sys
from typing import Any

MOST_CHARACTERS, MOST_ITEMS = 10_000, 10_000


def install() -> None:
    """Put :func:`literal` over ``eval`` in every module of fairseq that is there."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq."):
            vars(module).setdefault("eval", literal)


def literal(text: Any) -> Any:
    """Return the value of a Python expression of literals, ``+`` and ``*``.

    Raises:
        ValueError: it is anything else, or longer than any config's.

    >>> literal("[(512, 10, 5)] + [(512, 3, 2)] * 2")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise ValueError(f"not a short text: {str(text)[:60]!r}")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"not a value: {text[:60]!r} ({type(error).__name__})") from None


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add):
            return _bounded(left + right)
        _require_few(left, right)
        return _bounded(left * right)
    if isinstance(node, ast.List):
        return [_value(part) for part in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(part) for part in node.elts)
    return ast.literal_eval(node)


def _require_few(left: Any, right: Any) -> None:
    for items, times in ((left, right), (right, left)):
        if hasattr(items, "__len__") and len(items) * times > MOST_ITEMS:
            raise ValueError(f"more than {MOST_ITEMS} items")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("a number of more than 64 bits")
    return value
