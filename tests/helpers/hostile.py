"""Files made to do harm: each builder writes one, and is named for what it tries."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Builder = Callable[[Path, dict[str, Any], Path], object]
"""Writes ``path``; is given a good checkpoint's state, and a file whose existence shows that code ran."""


class Calls:
    """Pickles into a call of ``function(*arguments)``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def shell(mark: Path) -> Calls:
    import os

    return Calls(os.system, f"touch {mark}")


def python(mark: Path) -> Calls:
    return Calls(eval, f"open({str(mark)!r}, 'w')")


def put(*keys: str, value: Callable[[Path], Any], legacy: bool = False) -> Builder:
    """Put a value somewhere into the state."""

    def build(path: Path, state: dict[str, Any], mark: Path) -> None:
        place: Any = state
        for key in keys[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else vars(place).setdefault(key, {})
        place[keys[-1]] = value(mark)
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)

    return build


def old_args(path: Path, state: dict[str, Any], mark: Path) -> None:
    state |= {"args": Namespace(arch="wav2vec2", task="audio_pretraining", hidden=shell(mark)), "cfg": None}
    torch.save(state, path)


def raw_pickle(pickled: Callable[[Path], bytes]) -> Builder:
    """Put bytes where a checkpoint's pickle stands."""
    return lambda path, state, mark: rezip(path, state, {"data.pkl": pickled(mark)})


def rezip(path: Path, state: dict[str, Any], changed: dict[str, bytes | None], **options: Any) -> None:
    """Write the state with other contents under some of its records' names, all checksums right."""
    whole = io.BytesIO()
    torch.save(state, whole)
    with zipfile.ZipFile(whole) as good, zipfile.ZipFile(path, "w", **options) as bad:
        folder = good.namelist()[0].partition("/")[0]
        contents = {info.filename.partition("/")[2]: good.read(info) for info in good.infolist()} | changed
        for name, content in contents.items():
            if content is not None:
                bad.writestr(f"{folder}/{name}", content)


def renumbered(old: bytes, new: bytes) -> Builder:
    """Replace something in the pickle."""

    def build(path: Path, state: dict[str, Any], _mark: Path) -> None:
        state["model"]["victim"] = torch.arange(77.0)
        whole = io.BytesIO()
        torch.save(state, whole)
        with zipfile.ZipFile(whole) as good:
            pickled = good.read(next(name for name in good.namelist() if name.endswith("data.pkl")))
        assert old in pickled
        rezip(path, state, {"data.pkl": pickled.replace(old, new)})

    return build


def bomb(path: Path, state: dict[str, Any], _mark: Path) -> None:
    """600 MB of zeros in a file of 600 KB."""
    rezip(path, state, {"data/0": bytes(600_000_000)}, compression=zipfile.ZIP_DEFLATED)


def overlapping(path: Path, _state: dict[str, Any], _mark: Path) -> None:
    """A hundred records over the same 2 MB."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({}, 2))
        file.writestr("a/data/0", bytes(2_000_000))
        first = file.infolist()[-1]
        for number in range(1, 100):
            again = copy.copy(first)
            again.filename = f"a/data/{number}"
            file.filelist.append(again)


def twice(path: Path, state: dict[str, Any], mark: Path) -> None:
    """Two pickles of the same name: a check reads one, the loader perhaps the other."""
    rezip(path, state, {"DATA.PKL": pickle.dumps(shell(mark), 2)})


def text(content: bytes) -> Builder:
    return lambda path, _state, _mark: path.write_bytes(content)


def laughs(depth: int) -> Any:
    value: Any = ["ha"] * 10
    for _ in range(depth):
        value = [value] * 10
    return value


def circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def saved(change: Callable[[dict[str, Any]], object], legacy: bool = False) -> Builder:
    """Save the state after a change to it."""

    def build(path: Path, state: dict[str, Any], _mark: Path) -> None:
        change(state)
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)

    return build


def dictionary(**attributes: Any) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        from fairseq.data import Dictionary

        made = Dictionary()
        vars(made).update(attributes)
        state["task_state"] = {"target_dictionary": made}

    return change


class Parameterless(torch.nn.Module):
    """A class outside the list, though torch's own in kind."""


def legacy_with(position: int, content: object) -> Builder:
    """An old file with another pickle in one of its five places."""

    def build(path: Path, _state: dict[str, Any], _mark: Path) -> None:
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"model": {}, "cfg": {}}, []]
        parts[position] = content
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))

    return build


def legacy_huge(path: Path, _state: dict[str, Any], _mark: Path) -> None:
    """An old file whose tensor says that it has 2 GB."""
    torch.save({"model": {"w": torch.arange(77.0)}, "cfg": {}}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"K\x4d", b"J\x00\x00\x00\x1f"))


CHECKPOINTS: dict[str, Builder] = {
    "os.system": put("cfg", value=shell),
    "os.system in an old file": put("cfg", value=shell, legacy=True),
    "eval": put("extra_state", "best", value=python),
    "nested": put("extra_state", "a", value=lambda mark: [{"b": (1, [shell(mark)])}]),
    "in task_state": put("task_state", "target_dictionary", value=shell),
    "in the optimizer's state": put("last_optimizer_state", "state", value=lambda mark: {0: {"exp_avg": shell(mark)}}),
    "in the model": put("model", "w", value=python),
    "as a key": put("extra_state", "k", value=lambda _mark: {Calls(complex, 1, 2): 1}),
    "in an old args Namespace": old_args,
    "subprocess": put("cfg", value=lambda mark: Calls(__import__("subprocess").Popen, ["touch", str(mark)])),
    "a class outside the list": put("extra_state", "m", value=lambda _mark: Parameterless()),
    "getattr": put("extra_state", "g", value=lambda _mark: Calls(getattr, OrderedDict(), "pop")),
    "torch.load": put("extra_state", "g", value=lambda mark: Calls(torch.load, str(mark))),
    "torch.hub": raw_pickle(lambda _mark: b"\x80\x02ctorch.hub\nload\n(X\x01\x00\x00\x00atR."),
    "a name with dots": raw_pickle(lambda _mark: b"\x80\x02ctorch\n_utils.os.system\n(X\x01\x00\x00\x00atR."),
    "protocol 4, stack global": raw_pickle(lambda mark: pickle.dumps(shell(mark), 4)),
    "protocol 0, inst": raw_pickle(lambda mark: b"(S'touch " + str(mark).encode() + b"'\nios\nsystem\n."),
    "extension registry": raw_pickle(lambda _mark: b"\x80\x02\x82\x01."),
    "a storage by hand": raw_pickle(lambda _mark: b"\x80\x02ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R."),
    "2 GB bytearray": raw_pickle(lambda _mark: b"\x80\x05\x96" + (2 << 30).to_bytes(8, "little") + b"a."),
    "a text of 4 GB": raw_pickle(lambda _mark: b"\x80\x02X\xff\xff\xff\xffa."),
    "bytearray by reduce": raw_pickle(lambda _mark: b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
    "memo at 2 billion": raw_pickle(lambda _mark: b"\x80\x02}r\xff\xff\xff\x7f0."),
    "operations without end": raw_pickle(lambda _mark: b"\x80\x02](" + b"N" * 3_000_000 + b"e."),
    "a pickle of 50 MB": raw_pickle(lambda _mark: b"\x80\x02]" + b"(" + b"N" * 50_000_000 + b"e."),
    "sets without end": raw_pickle(lambda _mark: b"\x80\x02](" + b"\x8f" * 7_000_000 + b"e."),
    "marks without end": raw_pickle(lambda _mark: b"\x80\x02" + b"(" * 7_000_000 + b"."),
    "a text that an encoding doubles": raw_pickle(
        lambda _mark: b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R."
    ),
    "an empty pickle": raw_pickle(lambda _mark: b""),
    "a pickle that never stops": raw_pickle(lambda _mark: b"\x80\x02}"),
    "an empty stack": raw_pickle(lambda _mark: b"\x80\x02."),
    "zip bomb": bomb,
    "overlapping records": overlapping,
    "two pickles": twice,
    "a missing record": lambda path, state, _mark: rezip(path, state, {"data/0": None}),
    "a record too short": lambda path, state, _mark: rezip(path, state, {"data/0": b"1234"}),
    "a zip of something else": lambda path, _state, _mark: zipfile.ZipFile(path, "w").close(),
    "a storage longer than its record": renumbered(b"KMt", b"J\x00\x00\x00\x7ft"),
    "a negative storage": renumbered(b"KMt", b"J\xff\xff\xff\xfft"),
    "a tensor longer than its storage": renumbered(b"KM\x85", b"J\x00\x00\x00\x7f\x85"),
    "a negative shape": renumbered(b"KM\x85", b"J\xff\xff\xff\xff\x85"),
    "one number as 16 TB": saved(lambda s: s["model"].update(w=torch.ones(1).expand(1 << 42))),
    "a meta tensor": saved(lambda s: s["model"].update(w=torch.ones(1 << 40, device="meta"))),
    "a sparse tensor": saved(lambda s: s["model"].update(w=torch.ones(3).to_sparse())),
    "wrong magic": legacy_with(0, 7),
    "wrong protocol": legacy_with(1, 7),
    "old file, system info that calls": legacy_with(2, Calls(exit, 0)),
    "old file, keys of no tensor": legacy_with(4, ["1"]),
    "old file, 2 GB that are not there": legacy_huge,
    "text": text(b"hello, world\n" * 100),
    "empty": text(b""),
    "zip magic alone": text(b"PK\x03\x04"),
    "a tar": text(b"storages" + bytes(5000)),
    "no model": saved(lambda s: s.pop("model")),
    "no cfg": saved(lambda s: s.update(cfg=None, args=None)),
    "cfg is a text": saved(lambda s: s.update(cfg="model")),
    "model of texts": saved(lambda s: s.update(model={"w": "1"})),
    "cfg that multiplies": saved(lambda s: s["cfg"].update(laughs=laughs(9))),
    "a cfg that contains itself": saved(lambda s: s["cfg"].update(circle=circle())),
    "a cfg that calls": saved(lambda s: s["cfg"].update(secret="${oc.env:HOME}")),
    "a cfg that doubles": saved(lambda s: s["cfg"].update({f"a{n}": f"${{a{n + 1}}}" * 2 for n in range(99)})),
    "a dictionary with other methods": saved(dictionary(bos="none")),
    "a dictionary without symbols": saved(dictionary(symbols=None)),
    "a dictionary with wrong indices": saved(dictionary(indices={"<s>": 10**9})),
}  # fmt: skip


def header(claims: dict[str, Any] | bytes, length: int | None = None, body: bytes = b"") -> bytes:
    content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + body


def mask(shapes: str, dtype: str = "U8", end: int = 1, body: bytes = b"\1") -> bytes:
    meta = {"format": "fairseq_parp.mask.v1", "shapes": shapes}
    return header({"__metadata__": meta, "w": {"dtype": dtype, "shape": [end], "data_offsets": [0, end]}}, body=body)


MASKS: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"abc",
    "a header longer than the file": header({}, length=1000),
    "a header of 2^63 bytes": header({}, length=1 << 63),
    "a header of 90 MB": header(b" " * 90_000_000),
    "a header that is no JSON": header(b"{" * 100),
    "a header nested without end": header(b'{"a":' * 100_000),
    "offsets beyond the file": header({"w": {"dtype": "U8", "shape": [1000], "data_offsets": [0, 1000]}}, body=b"1"),
    "offsets backwards": header({"w": {"dtype": "U8", "shape": [1], "data_offsets": [5, 4]}}, body=b"1"),
    "offsets not of the shape": header({"w": {"dtype": "U8", "shape": [9], "data_offsets": [0, 1]}}, body=b"1"),
    "a huge shape of no bytes": header({"w": {"dtype": "U8", "shape": [0, 1 << 62], "data_offsets": [0, 0]}}),
    "no format": header({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, body=b"1"),
    "wrong dtype": mask('{"w": [8]}', "I8"),
    "float bits": mask('{"w": [8]}', "F32", 1, b"1234"),
    "a negative shape": mask('{"w": [-8]}'),
    "a huge shape": mask('{"w": [1000000000, 1000000000, 1000000000]}'),
    "an infinite shape": mask('{"w": [1e999]}'),
    "a shape of texts": mask('{"w": "eight"}'),
    "shapes nested without end": mask("[" * 100_000),
    "a number of 10,000 digits": mask('{"w": [' + "9" * 10_000 + "]}"),
    "other names": mask('{"v": [8]}'),
    "bits beyond the end": mask('{"w": [3]}', body=b"\xff"),
    "a pickle": pickle.dumps({"w": 1}, 2),
}  # fmt: skip
