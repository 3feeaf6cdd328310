"""A table of objects by name, to which other packages can add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from fairseq_parp.errors import ConfigError
from fairseq_parp.extensions import load_extensions

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Entries of one kind by name, in the order of registration, those of installed extensions included.

    Args:
        key: config key that takes these names; error messages begin with it.
        check: raises ValueError for an entry that lacks something; None checks nothing.
    """

    def __init__(self, key: str, check: Callable[[T], None] | None = None) -> None:
        self.key, self._check = key, check
        self._entries: dict[str, T] = {}

    def __repr__(self) -> str:
        return f"Registry({self.key}: {', '.join(self)})"

    def register(self, name: str, entry: T) -> T:
        """Add an entry and return it.

        Raises:
            ValueError: the name is taken by something else, or the entry lacks something.
        """
        if self._check is not None:
            self._check(entry)
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(f"{self.key}: the name {name!r} is registered already")
        return entry

    def __getitem__(self, name: str) -> T:
        """Return an entry.

        Raises:
            ConfigError: no entry has that name; the message lists all names.
        """
        load_extensions()
        if not isinstance(name, str) or name not in self._entries:
            raise ConfigError(self.key, name, f"must be one of {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        load_extensions()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_extensions()
        return iter(self._entries)

    def __len__(self) -> int:
        load_extensions()
        return len(self._entries)
