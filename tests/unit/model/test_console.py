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
