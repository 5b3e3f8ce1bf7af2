import re

import pytest

from model import console


def test_a_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    # In rich's markup these would be a style, an error and a picture.
    cells = ["photos [red] 2020", "[/end] of a line", ":smile: says the caption"]
    console.table(f"title of {cells[0]}", ["what", *cells], [cells])
    shown = capsys.readouterr().out
    assert f"title of {cells[0]}" in shown
    for cell in cells:
        assert shown.count(cell) >= 2


def test_a_bar_is_one_line_at_its_end_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.progress("reading", 3, "images") as bar:
        bar.advance(2)
        bar.note("[half] of it")
        bar.advance()
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"reading  3 images in \d+\.\d s \([\d.]+ images/s\)\n", told.err)
