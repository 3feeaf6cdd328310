"""Paths that a command writes: they are tried before the command works, so that no work is lost."""

from __future__ import annotations

import argparse
import errno
import tempfile
from pathlib import PosixPath

from fairseq_parp.errors import ConfigError
from fairseq_parp.figures import require_matplotlib
from fairseq_parp.files import writing_to


class OutputFolder(PosixPath):
    """The type of an argument that names a folder to write into."""

    def try_out(self) -> None:
        """Check that the folder can be written into, or be made.

        Raises:
            OSError: it cannot; the error names the path and the reason.
        """
        with writing_to(self):
            nearest = next(place for place in (self, *self.absolute().parents) if place.exists())
            tempfile.TemporaryFile(dir=nearest).close()


class OutputFile(PosixPath):
    """The type of an argument that names a file to write."""

    def try_out(self) -> None:
        """Check that the file can be written.

        Raises:
            OSError: it cannot; the error names the path and the reason.
        """
        with writing_to(self):
            if self.is_dir():
                raise IsADirectoryError(errno.EISDIR, "")
            nearest = next(place for place in self.absolute().parents if place.exists())
            tempfile.TemporaryFile(dir=nearest).close()


class OutputPicture(OutputFile):
    """The type of an argument that names a picture to write."""

    def try_out(self) -> None:
        """Check that the picture can be drawn and written.

        Raises:
            ConfigError: the name ends in something else than ``.png``.
            MissingToolError: matplotlib is not installed.
            OSError: the file cannot be written; the error names the path and the reason.
        """
        if self.suffix.lower() != ".png":
            raise ConfigError("picture", self, "must end in .png; pictures are written as PNG")
        super().try_out()
        require_matplotlib()


def require_writable(arguments: argparse.Namespace) -> None:
    """Check that the outputs of a command can be written.

    Raises:
        ConfigError, MissingToolError, OSError: one of them cannot; see its type.
    """
    for value in vars(arguments).values():
        if isinstance(value, (OutputFolder, OutputFile)):
            value.try_out()
