"""Reads fairseq checkpoints, old and new, without running code from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fairseq_parp.checkpoints import compact
from fairseq_parp.checkpoints.archives import DamagedError, inspect
from fairseq_parp.checkpoints.contents import TEXT, require_fairseq
from fairseq_parp.checkpoints.pickles import RefusedError
from fairseq_parp.errors import CheckpointError, MaskError, UnreadableCheckpointError, absolute, first_line, listing
from fairseq_parp.kinds import no_checkpoint

_DICTIONARY = "fairseq.data.dictionary.Dictionary"


class DictionaryStandIn:
    """Replaces fairseq's ``Dictionary`` if only the tensors of a checkpoint are read."""


def read(source: str | Path | IO[bytes], name: str | None = None, *, with_fairseq: bool = True) -> dict[str, Any]:
    """Read a fairseq checkpoint on the CPU, old (``args`` Namespace) or new (``cfg``) style.

    Raises:
        UnreadableCheckpointError: as :func:`load`; or the file holds something else than a fairseq checkpoint.
    """
    return dict(load(source, name, with_fairseq=with_fairseq, require=require_fairseq))


def load(
    source: str | Path | IO[bytes],
    name: str | None = None,
    *,
    with_fairseq: bool = True,
    require: Callable[[Any], None] = lambda _content: None,
) -> Any:
    """Read any file that ``torch.save`` wrote, on the CPU, without running code from it.

    Beside tensors and plain values only ``argparse.Namespace``, fairseq's ``Dictionary`` and the classes that the
    user's own code passed to ``torch.serialization.add_safe_globals`` are allowed. The checksums of a zip are compared
    first. Files from before torch 1.6 have no checksums; the log reports this.

    Args:
        source: path, or open binary file.
        name: name of the file in messages; default ``source``.
        with_fairseq: False reads without importing fairseq; dictionaries are stand-ins then.
        require: checks the content, and raises the error of a fault.

    Raises:
        UnreadableCheckpointError: no such file; truncated, changed or not a checkpoint; one that would run code.
    """
    shown = absolute(str(source) if name is None else name)
    if isinstance(source, (str, Path)):
        if reason := no_checkpoint(source):
            raise UnreadableCheckpointError(shown, reason)
        with Path(source).open("rb") as file:
            return load(file, shown, with_fairseq=with_fairseq, require=require)
    if compact.is_compact(source):
        return _compact(source, shown, with_fairseq, require)
    try:
        inspect(source, shown, _names_of(torch.serialization.get_safe_globals()))
        with torch.serialization.safe_globals(_allowed(with_fairseq)):
            content = torch.load(source, map_location="cpu", weights_only=True)
    except RefusedError as error:
        raise UnreadableCheckpointError(shown, f"refused: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error) if isinstance(error, DamagedError) else first_line(error)
        raise UnreadableCheckpointError(shown, f"truncated, damaged or not a checkpoint ({reason})") from None
    try:
        require(content)
    except RefusedError as error:
        raise UnreadableCheckpointError(shown, f"refused: {error}") from None
    except ValueError as error:
        raise UnreadableCheckpointError(shown, str(error)) from None
    return content


def _compact(source: IO[bytes], shown: str, with_fairseq: bool, require: Callable[[Any], None]) -> dict[str, Any]:
    """Read a compact checkpoint as the one that it was made from, without optimizer and random states."""
    try:
        state = rebuilt(*compact.decode(compact.mapped(source)), with_fairseq=with_fairseq)
        require(state)
    except (ValueError, KeyError, TypeError, RefusedError, MaskError) as error:
        raise UnreadableCheckpointError(shown, f"not a compact checkpoint that can be used ({error})") from None
    return state


def load_into(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Fill the tensors of a built model from a compact checkpoint, in one pass and without further memory.

    Args:
        tensors: all of the model, by name, as ``model.state_dict()`` returns them.
        path: path of the file.

    Raises:
        CheckpointError: there is no such file, or it is no compact checkpoint, or damaged; its tensors have other names
            or shapes.
    """
    shown = absolute(str(path))
    if reason := no_checkpoint(path):
        raise UnreadableCheckpointError(shown, reason)
    try:
        with Path(path).open("rb") as file, torch.no_grad():
            stored = compact.Stored(compact.mapped(file))
            _require_tensors(tensors, stored.shapes, shown)
            for _ in stored.tensors(tensors):
                pass
    except ValueError as error:
        raise UnreadableCheckpointError(shown, f"not a compact checkpoint that can be used ({error})") from None


def _require_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], shown: str) -> None:
    if tensors.keys() != shapes.keys():
        lacks = listing(sorted(tensors.keys() - shapes.keys()), 3) or "none"
        adds = listing(sorted(shapes.keys() - tensors.keys()), 3) or "none"
        raise CheckpointError(shown, f"of another model: it lacks the tensors {lacks}, and has {adds} in addition")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise CheckpointError(shown, f"{name} has shape {shapes[name]}, the model's has {tuple(tensor.shape)}")


def rebuilt(tensors: dict[str, Tensor], content: Mapping[str, Any], *, with_fairseq: bool = True) -> dict[str, Any]:
    """Return a checkpoint from a model's tensors and the other entries of a file of this project.

    Args:
        tensors: the model's tensors by name.
        content: has ``cfg``, ``history``, ``pruning``, ``pruned`` and ``symbols``; of some, ``adapters`` and ``text``.
        with_fairseq: False makes a stand-in of the dictionary, without importing fairseq.
    """
    state = {
        "args": None, "cfg": content["cfg"], "model": tensors, "criterion": None, "task_state": {},
        "optimizer_history": [content["history"]], "last_optimizer_state": None,
        "extra_state": compact.pruning_state(tensors, content["pruning"], content["pruned"]),
    }  # fmt: skip
    if content.get("adapters"):
        state["extra_state"]["compact"]["adapters"] = dict(content["adapters"])
    if content["symbols"]:
        state["task_state"] = {"target_dictionary": dictionary_of(content["symbols"], with_fairseq)}
    if content.get(TEXT):
        state["task_state"][TEXT] = dict(content[TEXT])
    return state


def dictionary_of(symbols: list[list[Any]], with_fairseq: bool = True) -> Any:
    """Return fairseq's Dictionary of symbols and their counts; fairseq's own stand first, or are not there."""
    if not with_fairseq:
        return DictionaryStandIn()
    from fairseq.data.dictionary import Dictionary

    dictionary = Dictionary(add_special_symbols=bool(symbols) and symbols[0][0] == "<s>")
    for symbol, count in symbols[len(dictionary) :]:
        dictionary.add_symbol(str(symbol), int(count))
    return dictionary


def require_whole(path: str | Path) -> None:
    """Check a checkpoint file without loading it.

    Raises:
        DamagedError, RefusedError: the error with which :func:`read` would refuse the file.
    """
    with Path(path).open("rb") as file:
        inspect(file, absolute(path))


def _names_of(allowed: Iterable[Any]) -> set[str]:
    """Return the full names of the classes passed to ``torch.serialization.add_safe_globals``."""
    return {one[1] if isinstance(one, tuple) else f"{one.__module__}.{one.__qualname__}" for one in allowed}


def _allowed(with_fairseq: bool) -> list[Any]:
    if not with_fairseq:
        return [argparse.Namespace, (DictionaryStandIn, _DICTIONARY)]
    from fairseq.data.dictionary import Dictionary

    return [argparse.Namespace, Dictionary]
