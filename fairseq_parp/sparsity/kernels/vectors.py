"""What numba lacks for the passes: 64 keys compared at once, the answers being the bits of one word.

LLVM makes a comparison of vectors one instruction for as many lanes as there are, and a vector of truth values one
word; numba's own loops reach neither the one nor the other reliably. Bit i of a word belongs to element ``start + i``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 64

_INTEGER, _WORD = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_INTEGER, LANES)
_MAGNITUDE, _INFINITY = 0x7FFF_FFFF, 0x7F80_0000


@intrinsic  # type: ignore[untyped-decorator]
def compared(_context: Any, values: Any, _start: Any, _low: Any, _width: Any) -> Any:
    """Compare the keys of 64 ``values`` from ``start``: below ``low``; inside [low, low + width); not finite."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, loaded = _loaded(context, builder, signature, arguments)
        low, width = (_spread(builder, each) for each in arguments[2:])
        keys = builder.and_(loaded, _constant(_MAGNITUDE))
        flags = (
            builder.icmp_unsigned("<", keys, low),
            builder.icmp_unsigned("<", builder.sub(keys, low), width),
            builder.icmp_unsigned(">=", keys, _constant(_INFINITY)),
        )
        words = [builder.bitcast(each, _WORD) for each in flags]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.uint64, 3)(values, types.uint64, types.uint32, types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def kept(_context: Any, values: Any, _start: Any, _key: Any) -> Any:
    """Tell which of 64 ``values`` from ``start`` have a key of at least ``key``."""
    return types.uint64(values, types.uint64, types.uint32), _keeping(store=False)


@intrinsic  # type: ignore[untyped-decorator]
def keep(_context: Any, values: Any, _start: Any, _key: Any) -> Any:
    """Do the same, and zero the others."""
    return types.uint64(values, types.uint64, types.uint32), _keeping(store=True)


@intrinsic  # type: ignore[untyped-decorator]
def ones(_context: Any, _word: Any) -> Any:
    """Count the ones of a word."""
    return types.int64(types.uint64), lambda _c, builder, _s, arguments: builder.ctpop(arguments[0])


@intrinsic  # type: ignore[untyped-decorator]
def lowest(_context: Any, _word: Any) -> Any:
    """Return the place of the lowest one of a word that has one."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), code


def _keeping(store: bool) -> Callable[..., Any]:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, loaded = _loaded(context, builder, signature, arguments)
        keys = builder.and_(loaded, _constant(_MAGNITUDE))
        flags = builder.icmp_unsigned(">=", keys, _spread(builder, arguments[2]))
        if store:
            builder.store(builder.select(flags, loaded, _constant(0)), place, align=4)
        return builder.bitcast(flags, _WORD)

    return code


def _loaded(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, Any]:
    """Load 64 values; return their place, too."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    place = builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())
    return place, builder.load(place, align=4)


def _spread(builder: Any, value: Any) -> Any:
    """Return a vector with ``value`` in all lanes."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INTEGER, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_VECTOR, [0] * LANES))


def _constant(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)
