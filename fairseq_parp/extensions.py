"""Packages that add to the registries: methods, criteria, structures, allocations, architectures.

A package declares an entry point of the group ``fairseq_parp``, whose module or function registers the additions::

    [project.entry-points."fairseq_parp"]
    my_method = "my_package.registering"
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from fairseq_parp.errors import ExtensionError, first_line

GROUP = "fairseq_parp"


@functools.cache
def load_extensions() -> None:
    """Import every installed extension, once a process.

    Raises:
        ExtensionError: an extension cannot be imported; the message names it.
    """
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded()
        except Exception as error:  # another package's code can fail in any way
            reason = f"the extension {entry.name} ({entry.value}) cannot be loaded ({first_line(error)})"
            raise ExtensionError(f"{reason}; mend or uninstall it") from error
