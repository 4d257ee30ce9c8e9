"""Colours of the masks of a set, numbered over all files."""

import numpy as np
import pytest

from unetkit.io.label_samples import ColourCode
from unetkit.labels.colour_codes import by_colour, colours_text, common_values

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def painted(*colours):
    return ColourCode(dict(enumerate(colours)), is_numbered=False)


def palette(*colours):
    return ColourCode(dict(enumerate(colours)), is_numbered=True)


def test_one_colour_is_one_value_in_all_files():
    codes = [painted(BLACK, BLUE), painted(BLACK, GREEN, RED), None]
    values = common_values(codes)
    assert values == {BLACK: 0, BLUE: 1, GREEN: 2, RED: 3}
    assert by_colour(np.array([[0, 1, 2]]), codes[1], values).tolist() == [[0, 2, 3]]
    assert "#ff0000 = 3" in colours_text(values)


def test_0_is_left_to_black():
    assert common_values([painted(RED), painted(GREEN)]) == {GREEN: 1, RED: 2}


def test_indices_that_agree_are_kept():
    assert common_values([palette(RED, GREEN), ColourCode({1: GREEN, 7: BLUE}, is_numbered=True)]) is None
    assert common_values([None, None]) is None


@pytest.mark.parametrize("second", [(BLACK, BLUE), (RED, BLACK)])
def test_palettes_that_differ_are_read_by_colour(second):
    assert common_values([palette(BLACK, RED), palette(*second)]) is not None


def test_a_table_for_display_is_not_used():
    assert common_values([palette(BLACK, RED, RED), palette(BLACK, BLUE)]) is None


def test_a_palette_among_pictures_is_read_by_colour():
    assert common_values([palette(RED, BLACK), painted(BLACK, RED)]) == {BLACK: 0, RED: 1}
