from pathlib import Path

import pytest

from unetkit.errors import Problem, Problems, raise_problems


def test_nothing_is_raised_without_problems():
    raise_problems([], "missing file")


def test_all_problems_are_raised_at_once_with_their_files():
    a, b = Path("a.png"), Path("b [1].png")
    with pytest.raises(ValueError, match=r"2 unusable files:\n  a\.png: empty\n  b \[1\]\.png: empty") as caught:
        raise_problems((Problem(f"{file}: empty", (file,)) for file in (a, b)), "unusable file")
    assert isinstance(caught.value, Problems)
    assert caught.value.bad_files == {a, b}
    assert str(caught.value.problems[0]) == "a.png: empty"


def test_one_problem_is_named_in_the_singular():
    with pytest.raises(Problems, match=r"1 wrong row:\n  line 3"):
        raise_problems([Problem("line 3: no mask")], "wrong row")


def test_problems_without_a_heading() -> None:
    error = Problems("", [Problem("a.tif: is torn", (Path("a.tif"),)), Problem("b")])
    assert str(error) == "a.tif: is torn\nb"
    assert error.bad_files == {Path("a.tif")}
