"""Lists the classes and calls in a pickle without executing any of them.

torch's own safe unpickler runs after this. It runs no foreign code either, but it creates every object that the pickle
describes, whatever its size: one number can become a tensor of a terabyte, a few bytes an array of gigabytes.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Collection, Mapping
from typing import IO, Any, NamedTuple

LIMIT = 8 << 20
"""Bytes of pickle, tensors not counted. The largest speech models need under 1 MiB, 100,000 symbols about 3."""

DICTIONARY_LIMIT = LIMIT - (2 << 20)
"""Bytes of pickle that a dictionary of labels may have, so that a checkpoint with it is read again."""

MAX_OBJECTS = 400_000
"""How many containers, tensors and objects the pickle makes, each of far more memory than its bytes, and how many of
the values that are a single byte there.

A model of 2 billion parameters with its optimizer needs about 150,000."""

CLASSES = frozenset({"argparse.Namespace", "fairseq.data.dictionary.Dictionary"})
"""Classes in fairseq's checkpoints beside tensors and plain values."""

CONVERSION = (
    "convert it once, if you trust the file, as this runs what is in it: state = torch.load(FILE, weights_only=False); "
    'state["cfg"] = OmegaConf.to_container(OmegaConf.create(state["cfg"]), enum_to_str=True); torch.save(state, NEW)'
)
"""How to read a checkpoint whose ``cfg``, or a part of it, was saved as omegaconf's ``DictConfig``."""

_PLAIN = frozenset({"collections.OrderedDict", "builtins.set", "torch.Size", "torch.device"})

_REBUILDS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}

_PARAMETERS = {f"torch._utils._rebuild_parameter{suffix}" for suffix in ("", "_with_state")}

_ITEM_SIZES = {
    "Untyped": 1, "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4,
    "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16,
}  # fmt: skip

_DTYPES = frozenset({
    "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bfloat16", "bool", "complex64",
    "complex128",
})  # fmt: skip

_OPCODES = (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWFALSE, pickle.NEWTRUE,
    pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT,
    pickle.BINUNICODE, pickle.SHORT_BINSTRING,
    pickle.EMPTY_TUPLE, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET,
    pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS,
    pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET,
    pickle.GLOBAL, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD, pickle.BINPERSID,
)  # fmt: skip
"""Those that torch's safe unpickler knows."""

_MAKING = frozenset({
    pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2,
    pickle.TUPLE3, pickle.GLOBAL, pickle.REDUCE, pickle.NEWOBJ, pickle.BINPERSID, pickle.NONE, pickle.NEWFALSE,
    pickle.NEWTRUE,
})  # fmt: skip


class RefusedError(Exception):
    """The pickle asks for an object that no checkpoint needs; the message names it."""


class Storage(NamedTuple):
    """The memory of a tensor, as a pickle describes it: elements, and bytes of one element."""

    elements: int
    item_size: int

    @property
    def bytes(self) -> int:
        """Its length."""
        return self.elements * self.item_size


class _StorageType(NamedTuple):
    item_size: int


class _Inert:
    """Takes the place of every object: it can be made and filled, and does nothing."""

    def __new__(cls, *_arguments: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None: ...

    def __setitem__(self, _key: Any, _value: Any) -> None: ...


def _counted(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def counted(scanner: Scanner) -> None:
        scanner.spend()
        load(scanner)

    return counted


class Scanner(pickle._Unpickler):
    """Reads pickles of one file, one after the other.

    Attributes:
        storages: the storages that the pickles describe, by key.
    """

    # Others, such as those that make byte arrays, can ask for memory before their content is known.
    dispatch = {  # noqa: RUF012 (pickle's)
        opcode[0]: _counted(load) if opcode in _MAKING else load
        for opcode in _OPCODES
        for load in [pickle._Unpickler.dispatch[opcode[0]]]
    }

    def __init__(self, pickled: IO[bytes], allowed: Collection[str] = ()) -> None:
        """Read from memory, so that a length that a pickle claims takes no more than it has.

        Args:
            pickled: at most :data:`LIMIT` bytes.
            allowed: full names that the user's own code allows beside :data:`CLASSES`.
        """
        super().__init__(pickled)
        self.storages: dict[str, Storage] = {}
        self._allowed = CLASSES | _PLAIN | _PARAMETERS | set(allowed)
        self._left = MAX_OBJECTS

    def scan(self) -> Any:
        """Return the next pickle's plain values, everything else inert.

        Raises:
            RefusedError: it asks for code, for a class outside the list, or for memory that it does not fill.
        """
        try:
            return self.load()
        except KeyError as error:
            raise RefusedError(f"its pickle cannot be read safely (operation {error.args[0]!r})") from None

    def spend(self) -> None:
        """Count an object that is made."""
        self._left -= 1
        if self._left < 0:
            raise RefusedError(f"its pickle makes more than {MAX_OBJECTS:,} objects")

    def find_class(self, module: str, name: str) -> Any:
        """Return something inert of the right kind."""
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full in _REBUILDS:
            return _check_tensor
        if full == "_codecs.encode":
            return _check_bytes
        if full in self._allowed or (module == "torch" and name in _DTYPES):
            return _Inert
        kind = name.removesuffix("Storage")
        if module in ("torch", "torch.storage") and kind != name and kind in _ITEM_SIZES:
            return _StorageType(_ITEM_SIZES[kind])
        if module.partition(".")[0] == "omegaconf":
            raise RefusedError(f"its config is an object of omegaconf's; {CONVERSION}")
        raise RefusedError(
            f"its pickle asks for {full}; only tensors, argparse.Namespace, Dictionary and what "
            "torch.serialization.add_safe_globals was given are loaded"
        )

    def persistent_load(self, pid: Any) -> Storage:
        """Take down a storage: the only thing that lies outside the pickle."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            raise RefusedError("its pickle refers to something that is not the memory of a tensor")
        key, elements, view = pid[2], pid[4], pid[5] if len(pid) > 5 else None
        if not isinstance(key, str) or type(elements) is not int or elements < 0 or view is not None:
            raise RefusedError(f"storage {key!r} has {elements!r} elements")
        storage = Storage(elements, pid[1].item_size)
        if self.storages.setdefault(key, storage) != storage:
            raise RefusedError(f"storage {key!r} is described twice, and differently")
        return storage


def _check_tensor(*arguments: Any) -> _Inert:
    """Check that a tensor lies inside its storage and is not longer than it, as expanded ones are."""
    storage, offset, shape, stride = arguments[:4]
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise RefusedError(f"a tensor has offset {offset!r}, shape {shape!r}, strides {stride!r}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if size > storage.elements or (size and last >= storage.elements):
        raise RefusedError(f"a tensor of shape {shape!r} claims more than the {storage.elements} values stored")
    return _Inert()


def _check_bytes(_text: Any, encoding: Any) -> _Inert:
    """Check that a text encodes bytes as pickles of protocol 2 do; other encodings could make it longer."""
    if encoding != "latin1":
        raise RefusedError(f"its pickle asks for a text in {encoding!r}")
    return _Inert()


def expanded(value: Any, budget: int) -> int:
    """Return the rest of ``budget`` after counting the plain values in ``value``, shared ones every time.

    Raises:
        RefusedError: there are more than ``budget``, or they are nested more than 40 deep, or contain themselves.
    """
    return _spend(value, budget, depth=40)


def _spend(value: Any, budget: int, depth: int) -> int:
    parts = _parts(value)
    budget -= len(parts)
    if budget < 0 or not depth:
        raise RefusedError("its plain values are nested too deeply, or multiply without end")
    for part in parts:
        if isinstance(part, (dict, list, tuple, set)) or hasattr(part, "__dict__"):
            budget = _spend(part, budget, depth - 1)
    return budget


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, (list, tuple, set)) else list(getattr(value, "__dict__", {}).values())
