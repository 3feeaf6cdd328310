"""A sparse checkpoint as one safetensors file: the bits of each sparse tensor's mask, and the values that are kept.

Layout, version 3. A few tensors of the file contain all tensors of the model, one after another, in the order of
``tensors`` in the content:

- ``values.F32``, ``values.F16``, ...: flat, the values of all tensors of one type. A tensor with at least
  :data:`MIN_ZEROS` zeros has a mask, and its kept values are here; of any other tensor, all values.
- ``bitmask``: uint8, ``ceil(n / 8)`` bytes for each tensor with a mask, lowest bit first, 1 where a value is kept.
  Many zeros leave words of 16 such bits zero. Where that saves bytes, the words are stored as values are: a bit for
  each word here, and the words that are not zero in ``words``.
- ``words``: int16.
- ``content``: uint8, JSON in UTF-8, compressed by zlib: ``tensors`` (of each its name, type, shape, and mask: 0 for
  none, 1 for bits, 2 for words), config, symbols of the dictionary, pruning.

A value is kept unless all its bits are 0: -0.0 is kept, and every tensor is restored bit for bit. The metadata has
``format`` and ``xxh3_128``: the checksum of the whole file, computed with 32 zeros in the place of the checksum. A
file of version 2 is read too: it has no words.
"""

from __future__ import annotations

import json
import math
import mmap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.errors import ExportError, MissingToolError
from fairseq_parp.sparsity.expansion import expand
from fairseq_parp.sparsity.kernels import INTEGERS
from fairseq_parp.sparsity.packing import pack, pack_nonzero
from fairseq_parp.sparsity.upgrade import MARKER, VERSION

FORMAT = "fairseq_parp.compact.3"
_READ = ("fairseq_parp.compact.2", FORMAT)
MIN_ZEROS = 0.1
"""Share of zeros from which on a mask is stored: its bits take a 32nd of fp32 values, a 16th of half ones."""

MAX_HEADER = 100_000_000
"""Bytes of the header, and of the content."""

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types of tensors, by their names in safetensors."""

_NAMES = {dtype: name for name, dtype in TYPES.items()}
_WORD = torch.int16
_CHECKSUM, _UNSET = "xxh3_128", b"0" * 32
_DAMAGES = (
    KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    zlib.error, json.JSONDecodeError, UnicodeDecodeError,
)  # fmt: skip
"""Exceptions of a header or a content of another layout."""

Bytes = NDArray[np.uint8]


class Listed(NamedTuple):
    """A tensor of the model, as the content lists it."""

    name: str
    kind: str
    shape: Sequence[int]
    mask: int

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        return TYPES[self.kind]

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return _width(self.dtype)

    @property
    def run(self) -> str:
        """The tensor of the file that has its values."""
        return f"values.{self.kind}"


def is_compact(file: IO[bytes]) -> bool:
    """Return whether an open file begins like a compact checkpoint; the file is left at its start."""
    file.seek(0)
    start = file.read(9)
    file.seek(0)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def encode(tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> bytes:
    """Return the file.

    Args:
        tensors: tensors of the model, by name.
        content: plain values to keep beside them.

    Raises:
        ExportError: a tensor is of a type that is not in :data:`TYPES`.
    """
    runs: dict[str, list[Tensor]] = {}
    listed = []
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise ExportError(f"{name} is of type {tensor.dtype}; a compact file holds {', '.join(TYPES)}")
        flat = _flat(tensor.detach().contiguous())
        kept = flat.view(INTEGERS[flat.element_size()]) != 0
        masked = flat.is_floating_point() and int(kept.sum()) <= (1 - MIN_ZEROS) * flat.numel()
        each = Listed(name, _NAMES[flat.dtype], list(tensor.shape), _add_mask(kept, runs) if masked else 0)
        listed.append(each)
        runs.setdefault(each.run, []).append(flat[kept] if masked else flat)
    text = json.dumps({**content, "tensors": listed}, ensure_ascii=False, separators=(",", ":"))
    runs["content"] = [torch.frombuffer(bytearray(zlib.compress(text.encode(), 9)), dtype=torch.uint8)]
    return _file(runs)


def _add_mask(kept: Tensor, runs: dict[str, list[Tensor]]) -> int:
    """Add a mask to the file's tensors in the smaller form, and return which: 1 for bits, 2 for words."""
    bits = pack(kept)
    words = torch.cat([bits, bits.new_zeros(len(bits) % 2)]).view(_WORD)
    some = words != 0
    saves = len(pack(some)) + 2 * int(some.sum()) < len(bits)
    runs.setdefault("bitmask", []).append(pack(some) if saves else bits)
    if saves:
        runs.setdefault("words", []).append(words[some])
    return 2 if saves else 1


def decode(data: bytes | mmap.mmap) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and content of a file.

    Raises:
        ValueError: it is truncated or altered, or no compact checkpoint.
    """
    stored = Stored(data)
    return dict(stored.tensors()), stored.content


def mapped(file: IO[bytes]) -> bytes | mmap.mmap:
    """Return the content of an open file; of one on a disk, its pages in the cache, without copying them."""
    try:
        number = file.fileno()
    except (AttributeError, OSError):  # in memory
        return file.read()
    ahead = getattr(mmap, "MAP_POPULATE", 0)  # all pages at once take a fifth of the time of one after another
    return mmap.mmap(number, 0, flags=mmap.MAP_PRIVATE | ahead, prot=mmap.PROT_READ)


class Stored:
    """A file whose checksum is right.

    Attributes:
        content: plain values beside the tensors.
        listed: the model's tensors, in their order.

    Raises:
        ValueError: the file is truncated or altered, or no compact checkpoint.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        try:
            self._left = _runs(data)
            self.content = _content(self._left.pop("content"))
            self.listed = [_listed(*each) for each in self.content.pop("tensors")]
        except _DAMAGES as error:
            raise ValueError(f"damaged, or no compact checkpoint ({type(error).__name__}: {error})") from None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the model's tensors, by name."""
        return {each.name: tuple(each.shape) for each in self.listed}

    def tensors(self, into: Mapping[str, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors by name; once.

        Args:
            into: tensors of the same names and shapes, which take the values; new ones by default.

        Raises:
            ValueError: the masks and values are not those of the tensors that the content lists.
        """
        for each in self.listed:
            yield each.name, self._next(each, None if into is None else into[each.name].detach())
        if any(left.size for left in self._left.values()):
            raise ValueError("damaged: it has more values than its tensors")

    def _next(self, each: Listed, into: Tensor | None) -> Tensor:
        size = math.prod(each.shape)
        taken = self._bits(each, size) if each.mask else self._cut(each.run, size * each.width)
        fits = into is not None and into.dtype == each.dtype and into.device.type == "cpu" and into.is_contiguous()
        whole = into if into is not None and fits else torch.empty(tuple(each.shape), dtype=each.dtype)
        if each.mask:
            self._expand(whole, taken, each.run)
        else:
            _flat(whole).view(torch.uint8).numpy()[:] = taken
        return whole if into is None or fits else into.copy_(whole)

    def _bits(self, each: Listed, size: int) -> Bytes:
        """Return the bits of the next mask, of ``size`` elements."""
        many = -(-size // 8)
        if each.mask == 1:
            bits = self._cut("bitmask", many)
        else:
            outer = self._cut("bitmask", -(-many // 16))
            words = torch.empty(-(-many // 2), dtype=_WORD)
            self._expand(words, outer, "words")
            bits = words.view(torch.uint8).numpy()[:many]
        if size % 8 and int(bits[-1]) >> size % 8:
            raise ValueError(f"damaged: the mask of {each.name} has other bits than its shape {each.shape}")
        return bits

    def _expand(self, into: Tensor, bits: Bytes, run: str) -> None:
        """Fill a tensor with the next values of a run."""
        used = expand(into, bits, self._left[run])
        self._cut(run, used * into.element_size())

    def _cut(self, run: str, size: int) -> Bytes:
        left = self._left[run]
        if len(left) < size:
            raise ValueError(f"damaged: {run} has fewer bytes than its tensors")
        self._left[run] = left[size:]
        return left[:size]


def pruning_state(tensors: Mapping[str, Tensor], config: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the entry of ``extra_state`` about the pruning, with the masks of the tensors' zeros."""
    masks = {name: pack_nonzero(tensors[name]) for name in names if name in tensors}
    state = {"marker": MARKER, "version": VERSION, "config": dict(config), "pruned_at": 0, "mask": masks,
             "stashed": {}, "method": {}}  # fmt: skip
    return {"compact": {"pruning": state}}


def _flat(tensor: Tensor) -> Tensor:
    """Return a flat view with stride 1 of contiguous memory; one element can have any stride before."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _file(runs: Mapping[str, Sequence[Tensor]]) -> bytes:
    """Return flat tensors as a safetensors file; the parts of each stand one after another."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, _CHECKSUM: _UNSET.decode()}}
    parts, end = [], 0
    for name, run in sorted(runs.items(), key=lambda item: (-item[1][0].element_size(), item[0])):  # all are aligned
        parts += [part.view(torch.uint8).numpy().data for part in run]
        size = sum(map(len, run))
        start, end = end, end + size * run[0].element_size()
        header[name] = {"dtype": _NAMES[run[0].dtype], "shape": [size], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return b"".join([head.replace(_UNSET, _checksum(head, *parts), 1), *parts])


def _runs(data: bytes | mmap.mmap) -> dict[str, Bytes]:
    """Return the file's tensors as bytes, of a file whose checksum is right."""
    view = memoryview(data)
    start = 8 + int.from_bytes(view[:8], "little")
    head = bytes(view[:start])
    header = json.loads(head[8:])
    metadata = header.pop("__metadata__")
    if metadata["format"] not in _READ:
        raise ValueError(f"format {metadata['format']!r}, expected {FORMAT!r}: export the checkpoint again")
    written = str(metadata[_CHECKSUM]).encode()
    if _checksum(head.replace(written, _UNSET, 1), view[start:]) != written:
        raise ValueError("truncated or altered: its checksum is not the one that was written")
    payload = np.frombuffer(view[start:], np.uint8)
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= payload.size or start % _width(TYPES[entry["dtype"]]):
            raise ValueError(f"damaged: its tensor {name} is at {start} to {end} of {payload.size} bytes")
        found[name] = payload[start:end]
    return found


def _checksum(*parts: Any) -> bytes:
    try:
        import xxhash  # where a file is read or written: training needs none
    except ImportError as error:
        raise MissingToolError(f"compact files need xxhash: pip install xxhash ({error})") from None
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return found.hexdigest().encode()


def _width(dtype: torch.dtype) -> int:
    return torch.empty(0, dtype=dtype).element_size()


def _content(compressed: Bytes) -> dict[str, Any]:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(compressed.data, MAX_HEADER)
    if not unpacking.eof:
        raise ValueError(f"damaged: its content does not end, or has over {MAX_HEADER} bytes")
    return dict(json.loads(text))


def _listed(name: str, kind: str, shape: Sequence[int], mask: int) -> Listed:
    if not isinstance(name, str) or kind not in TYPES or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"damaged: it lists a tensor {name!r} of type {kind!r} and shape {shape!r}")
    if mask not in (0, 1, 2):
        raise ValueError(f"damaged: it lists a tensor {name!r} with a mask of kind {mask!r}")
    return Listed(name, kind, shape, mask)
