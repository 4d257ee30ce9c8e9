"""Colours of the masks of a set, numbered over all files."""

import numpy as np
import pytest

from unetkit.io.label_samples import ValueCode
from unetkit.labels.colour_codes import colour_values, colours_text
from unetkit.labels.numbering import Numbering, number_values
from unetkit.labels.options import LabelOptions

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def painted(*colours):
    return ValueCode(dict(enumerate(colours)), is_numbered=False)


def palette(*colours):
    return ValueCode(dict(enumerate(colours)), is_numbered=True)


def test_one_colour_is_one_value_in_all_files():
    codes = [painted(BLACK, BLUE), painted(BLACK, GREEN, RED)]
    values = colour_values(codes)
    assert values == {BLACK: 0, BLUE: 1, GREEN: 2, RED: 3}
    assert number_values([*codes, None]).values == values
    numbered = Numbering(values).array(np.array([[0, 1, 2]], np.uint8), codes[1])
    assert numbered.tolist() == [[0, 2, 3]]
    assert numbered.dtype == np.uint8
    assert "#ff0000 = 3" in colours_text(values)


def test_0_is_left_to_black():
    assert colour_values([painted(RED), painted(GREEN)]) == {GREEN: 1, RED: 2}


def test_indices_that_agree_are_kept():
    assert colour_values([palette(RED, GREEN), ValueCode({1: GREEN, 7: BLUE}, is_numbered=True)]) is None
    assert not number_values([None, None]).values


@pytest.mark.parametrize("second", [(BLACK, BLUE), (RED, BLACK)])
def test_palettes_that_differ_are_read_by_colour(second):
    assert colour_values([palette(BLACK, RED), palette(*second)]) is not None


def test_a_table_for_display_is_not_used():
    assert colour_values([palette(BLACK, RED, RED), palette(BLACK, BLUE)]) is None


def test_a_palette_among_pictures_is_read_by_colour():
    assert colour_values([palette(RED, BLACK), painted(BLACK, RED)]) == {BLACK: 0, RED: 1}


def test_stated_colours_have_their_values_and_no_other_may_occur():
    options = LabelOptions(colours=((BLACK, 0), (RED, 7), (BLUE, 2)))
    assert number_values([painted(BLACK, RED)], options).values == {BLACK: 0, RED: 7, BLUE: 2}
    with pytest.raises(ValueError, match="#00ff00"):
        number_values([painted(BLACK, GREEN)], options)
