"""``fairseq-parp doctor``: versions, and each fault of the environment with its remedy. A fault gives status 1."""

from __future__ import annotations

import argparse

from fairseq_parp.environment.doctor import Diagnosis, examine
from fairseq_parp.environment.libraries import Library


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Examine this Python and print the report."""
    report = examine()
    print(report.to_json() if arguments.json else as_text(report))
    return int(report.broken)


def as_text(report: Diagnosis) -> str:
    """Lay the report out for reading: one line per library and per folder, then the problems."""
    lines = [f"{'Python':<16}{report.python}", *map(library_line, report.libraries)]
    lines += [f"{name:<16}{path}" for name, path in report.paths.items()]
    for problem in report.problems:
        lines += ["", f"{'note' if problem.harmless else 'BROKEN'}: {problem.what}", f"  mend: {problem.mend}"]
    return "\n".join([*lines, "", "Something is broken." if report.broken else "All that is needed works."])


def library_line(library: Library) -> str:
    """Show one library: version, description, whether it imports."""
    detail = f", {library.detail}" if library.detail else ""
    error = f", does not import: {library.error}" if library.error else ""
    return f"{library.name:<16}{library.version or '-'}{detail}{error}"
