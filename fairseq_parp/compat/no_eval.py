"""A checkpoint's config is not run as code.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. Building a model calls ``eval`` on
``conv_feature_layers`` and the like, which come out of the checkpoint: a file that loads safely runs code after all.
While fairseq works for this plugin, ``eval`` inside fairseq's modules becomes a reader of literals and arithmetic,
such as ``[(512, 3, 2)] * 4``. For other tasks it stays Python's.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import operator
import sys
from collections.abc import Iterator
from typing import Any

from fairseq_parp.compat.scope import act, acting

MAX_CHARACTERS, MAX_ITEMS = 10_000, 10_000


_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
               ast.Pow: operator.pow}  # fmt: skip


def install() -> None:
    """Put :func:`evaluate` over ``eval`` in every module of fairseq that is there."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq."):
            vars(module).setdefault("eval", evaluate)


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Let the patches act while a model is built, in modules that were imported since as well."""
    install()
    with act():
        yield


def evaluate(text: Any, *scopes: Any) -> Any:
    """Return :func:`literal` of the text where fairseq works for this plugin, else the result of ``eval``."""
    if acting():
        return literal(text)
    caller = sys._getframe(1)
    return builtins.eval(text, *(scopes or (caller.f_globals, caller.f_locals)))


def literal(text: Any) -> Any:
    """Return the value of a Python expression of literals and arithmetic.

    Raises:
        ValueError: it is anything else, or longer than any config's.

    >>> literal("[(512, 10, 5)] + [(512, 3, 2)] * 2")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    >>> literal("[1e-3 / 2, 2**3]")
    [0.0005, 8]
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise ValueError(f"not a short text: {str(text)[:60]!r}")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a value: {text[:60]!r} ({type(error).__name__})") from None


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Mult):
            _require_few(left, right)
        if isinstance(node.op, ast.Pow):
            _require_small(left, right)
        return _bounded(_ARITHMETIC[type(node.op)](left, right))
    if isinstance(node, ast.List):
        return [_value(part) for part in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(part) for part in node.elts)
    return ast.literal_eval(node)


def _require_few(left: Any, right: Any) -> None:
    for items, times in ((left, right), (right, left)):
        if hasattr(items, "__len__") and len(items) * times > MAX_ITEMS:
            raise ValueError(f"more than {MAX_ITEMS} items")


def _require_small(base: Any, exponent: Any) -> None:
    if not all(isinstance(number, (int, float)) and abs(number) <= 64 for number in (base, exponent)):
        raise ValueError("a power of numbers above 64")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("a number of more than 64 bits")
    return value
