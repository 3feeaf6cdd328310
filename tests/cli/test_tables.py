"""Tables in a pipe and on a terminal."""

from __future__ import annotations

import sys

import pytest

from fairseq_parp.tables import table

HEADS = ("[red]name", "amount")
ROWS = [("[bold]x[/]", "1"), ("y" * 400, ":smile:")]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


PLAIN = [f"{'[red]name':400}   amount", f"{'[bold]x[/]':400}        1", f"{'y' * 400}  :smile:"]


def test_a_pipe_gets_plain_text_whose_cells_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert table(HEADS, ROWS) == PLAIN


def test_columns_aligned_left_leave_no_space_at_the_end() -> None:
    assert table(("a", ""), [("1", "x"), ("22", "long")], left=(0, 1)) == ["a", "1   x", "22  long"]


def test_a_terminal_shows_bold_heads_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    head, *rest = table(HEADS, ROWS)
    assert head.startswith("\x1b[1m")
    assert rest == PLAIN[1:]
    monkeypatch.setenv("NO_COLOR", "1")
    assert table(HEADS, ROWS) == PLAIN
