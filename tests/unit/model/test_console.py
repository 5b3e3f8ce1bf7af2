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


def test_a_bar_that_nobody_sees_is_a_line_a_minute_with_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("training", 1000, "pairs") as bar:
        for step in range(1, 11):
            now[0] += 25
            bar.note(f"step {step}/10  loss 2.50")
            bar.advance(100)
    *told, end = capsys.readouterr().err.splitlines()
    assert told == [
        "training  300/1,000 pairs  step 3/10  loss 2.50  4.0 pairs/s  0:02:55 left",
        "training  600/1,000 pairs  step 6/10  loss 2.50  4.0 pairs/s  0:01:40 left",
        "training  900/1,000 pairs  step 9/10  loss 2.50  4.0 pairs/s  0:00:25 left",
    ]
    assert end == "training  1,000 pairs in 250.0 s (4.0 pairs/s)"
