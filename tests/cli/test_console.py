"""What the command line shows: durations, sizes, tables, and progress where there is no terminal."""

import pytest

from unetkit.cli.console import PredictionBar, TrainingBar, clock, print_table
from unetkit.cli.options import seconds
from unetkit.processors import byte_count


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "ten", "10 m", "-5m", "5x", "m", "1e3"])
def test_no_durations(text):
    with pytest.raises(ValueError, match=rf"'{text}' is not a duration: expected one such as 90s, 10m or 1h30m"):
        seconds(text)


@pytest.mark.parametrize("text", ["0", "0m", "0h0s"])
def test_no_time_at_all(text):
    with pytest.raises(ValueError, match=rf"the duration is '{text}'; expected more than 0"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2GB", 2**31), ("512M", 2**29), ("1.5 kb", 1536), ("100", 100), ("2GiB", 2**31), (" 1tb ", 2**40)],
)
def test_memory_sizes(text, expected):
    assert byte_count(text) == expected


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "2PB", "1e9"])
def test_no_memory_sizes(text):
    with pytest.raises(ValueError, match=rf"'{text}' is not a memory size: expected one such as 2GB or 500MB"):
        byte_count(text)


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [(0, "0:00"), (65.4, "1:05"), (59.7, "1:00"), (7380, "2:03:00"), (float("nan"), "-:--"), (float("inf"), "-:--")],
)
def test_clock(time_s, expected):
    assert clock(time_s) == expected


def test_a_table_is_never_cut(capsys):
    names = ["class", "dice", "boundary_f1", *(f"a_rather_long_column_{i}" for i in range(6)), "pixels"]
    row = dict.fromkeys(names, 0.123456) | {"class": "mean of foreground", "dice": float("nan"), "pixels": 1234567}
    print_table([row, row])
    out = capsys.readouterr().out
    assert "…" not in out
    assert len(out.splitlines()) == 4
    for part in ("boundary f1", "a rather long column 5", "mean of foreground", "0.1235", "1,234,567", " - "):
        assert part in out


def test_a_training_without_a_terminal_is_told_in_lines(capsys):
    with TrainingBar() as bar:
        bar.update(message="read [bold]cells[1].png :smile:")
        bar.update()
        for step in range(1, 101):
            dice = {"dice": 0.75} if step > 50 else {}
            bar.update(step, 100, step=step, loss=0.5, steps_per_s=2.0, time_left_s=30.0, **dice)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "read [bold]cells[1].png :smile:"
    assert lines[1] == "  1%  step 1  2.00/s  loss 0.500  Dice -  0:30 left"
    assert lines[-1] == "100%  step 100  2.00/s  loss 0.500  Dice 0.7500  0:30 left"
    assert len(lines) == 1 + 21


def test_a_prediction_without_a_terminal_prints_its_messages_only(capsys):
    with PredictionBar() as bar:
        bar.update(message="a[0].png: whole image at once")
        bar.update(0.5, 2)
        bar.update(2, 2)
    assert capsys.readouterr().out == "a[0].png: whole image at once\n"


def test_bars_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("unetkit.cli.console.console._force_terminal", True)
    with TrainingBar() as bar:
        bar.update(1, 2, step=3, loss=0.25, steps_per_s=1.0, time_left_s=60.0)
        bar.update(message="early preview")
    with PredictionBar() as bar:
        bar.update(1.5, 2)
    out = capsys.readouterr().out
    for part in ("step 3", "loss 0.250", "1:00 left", "early preview", "1 of 2 images"):
        assert part in out
