"""Reads files in the format safetensors, and the packed masks in them, into torch or numpy (numpy imports faster)."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fairseq_parp.errors import MaskError, MissingToolError, absolute, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MASKS = "fairseq_parp.mask.v1"
"""The format that a mask file states."""

MAX_HEADER = 4 << 20
"""Bytes; a mask of 1,000 parameters has a header of 150 KiB."""

Framework = Literal["pt", "np"]


def read_masks(path: str | Path, framework: Framework = "pt") -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Read a mask file of this project.

    Args:
        path: the file.
        framework: library of the bits: torch or numpy.

    Returns:
        packed bits (uint8, lowest bit first, 1 keeps) and shapes, by parameter name.

    Raises:
        MaskError: there is no such file, or it is not a mask file of this project, or it is damaged.
    """
    if not Path(path).is_file():
        raise MaskError(f"no mask file at {absolute(path)}")
    with opened(path, framework) as file:
        metadata = file.metadata() or {}
        bits = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.get("format") != MASKS:
        raise MaskError(f"{absolute(path)}: format {metadata.get('format')!r}, expected {MASKS!r}")
    try:
        shapes = {name: tuple(int(n) for n in shape) for name, shape in json.loads(metadata["shapes"]).items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise MaskError(f"{absolute(path)}: its shapes cannot be read") from None
    if set(shapes) != set(bits):
        raise MaskError(f"{absolute(path)}: its shapes and its masks have different names")
    for name, shape in shapes.items():
        require_bits(absolute(path), name, bits[name], shape)
    return {name: bits[name] for name in shapes}, shapes


def notes(path: str | Path) -> dict[str, str]:
    """Return the notes of a mask file: ``by`` and ``source`` where ``fairseq-parp mask make`` wrote it.

    Raises:
        MaskError: the file is not a safetensors file, or damaged.
    """
    with opened(path) as file:
        metadata = file.metadata() or {}
    return {name: text for name, text in metadata.items() if name not in ("format", "shapes")}


@contextlib.contextmanager
def opened(path: str | Path, framework: Framework = "pt") -> Iterator[Any]:
    """Open a safetensors file that may be damaged, or made to do harm.

    Raises:
        MaskError: it is not a safetensors file; the block failed, as on a tensor beyond its end.
    """
    library = safetensors("safetensors")
    _require_short_header(Path(path))
    try:
        with library.safe_open(str(path), framework=framework) as file:
            yield file
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise MaskError(f"{absolute(path)}: not a safetensors file: {first_line(error)}") from None


def safetensors(module: str) -> Any:
    """Import safetensors where a file is read or written: training without one does not need it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingToolError(f"mask files need safetensors: pip install safetensors ({error})") from None


def in_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in any order: equal content is equal files."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def require_bits(where: str, name: str, bits: Tensor | NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check that ``bits`` are a packed mask of ``shape``.

    Raises:
        MaskError: they are not; the message begins with ``where``.
    """
    size = 1
    for n in shape:
        size *= n
    whole = str(bits.dtype) in ("uint8", "torch.uint8") and bits.ndim == 1 and min(shape, default=0) >= 0
    if not whole or len(bits) != -(-size // 8) or (size % 8 and int(bits[-1]) >> (size % 8)):
        raise MaskError(f"{where}: the mask of {name} does not have the bits of shape {shape}")


def _require_short_header(path: Path) -> None:
    """Check the header's length, which the file begins with, before anyone makes room for it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER, path.stat().st_size - 8):
        raise MaskError(f"{absolute(path)}: not a safetensors file: its header would have {length} bytes")
