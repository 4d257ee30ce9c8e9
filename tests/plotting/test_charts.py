"""Charts: their marks are at the values, their words and ticks within the picture."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from unetkit.plotting.charts import Axis, Series, draw_curves, draw_distribution, draw_sizes_and_fields


def _drawn(figure: Figure) -> Any:
    """The axes after drawing, none of whose words leave the picture."""
    figure.savefig(io.BytesIO(), format="svg")
    axis = figure.axes[0]
    width, height = figure.bbox.size
    for text in axis.texts:
        box = text.get_window_extent()
        assert box.x0 >= -4
        assert box.x1 <= width + 4
        assert box.y0 >= -4
        assert box.y1 <= height + 4
    return axis


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0.9, 1.0), (0, 2.7), (0, 137), (0, 3e-4), (0.31, 0.33), (0, 5.2e6), (-0.4, 0.1)]
)
def test_ticks_are_round_few_and_evenly_spaced(low: float, high: float) -> None:
    axis = _drawn(draw_curves([Series([(0, low), (1, high)])], Axis(0, 1, "x"), Axis(low, high, "y")))
    ticks = [tick for tick in axis.get_yticks() if low - 1e-12 <= tick <= high * (1 + 1e-9) + 1e-12]
    assert 2 <= len(ticks) <= 7
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert f"{steps[0]:.0e}"[0] in "125"


@pytest.mark.parametrize("low, high", [(1e-7, 1.0), (1e-3, 1e-2), (1e-5, 10.0)])
def test_a_logarithmic_height_has_a_tick_per_decade(low: float, high: float) -> None:
    axis = _drawn(draw_curves([Series([(0, low)])], Axis(0, 1, "x"), Axis(low, high, "y", is_log=True)))
    np.testing.assert_allclose(np.diff(np.log10(axis.get_yticks())), 1)
    assert (axis.get_yticks()[0], axis.get_yticks()[-1]) == pytest.approx((low, high))


@pytest.mark.parametrize("low, high", [(1.3, 210), (3, 17), (0.8, 40_000)])
def test_sizes_have_round_logarithmic_ticks(low: float, high: float) -> None:
    axis = _drawn(draw_sizes_and_fields([low, high], [("output", 5, 9)], typical=low))
    ticks = axis.get_xticks()
    assert 2 <= len(ticks) <= 12
    assert all(f"{tick:.0e}"[0] in "125" for tick in ticks)


@pytest.mark.parametrize("is_log", [False, True])
def test_an_axis_runs_from_zero_to_one_in_order(is_log: bool) -> None:
    axis = Axis(2.0, 50.0, "", is_log=is_log)
    places = [axis.share(value) for value in np.linspace(2, 50, 30)]
    assert (places[0], places[-1]) == (0, pytest.approx(1))
    assert np.all(np.diff(places) > 0)
    assert axis.share(10.0) == pytest.approx(0.5 if is_log else 8 / 48)


def test_curves_leave_out_values_that_are_not_finite() -> None:
    points = [(0.0, 0.0), (1.0, float("nan")), (2.0, 0.7), (float("inf"), 0.1), (4.0, 1.0)]
    series = [Series(points, has_dots=True), Series([])]
    axis = _drawn(draw_curves(series, Axis(0, 4, "time"), Axis(0, 1, "Dice"), level=(0.99, "kept <best>")))
    lines = axis.get_lines()
    np.testing.assert_array_equal(lines[0].get_xydata(), [(0, 0), (2, 0.7), (4, 1)])
    assert lines[0].get_marker() == "o"
    assert lines[2].get_ydata()[0] == 0.99
    assert [text.get_text() for text in axis.texts] == ["kept <best>"]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xlim(), axis.get_ylim()) == ("time", "Dice", (0, 4), (0, 1))


@pytest.mark.parametrize("n", [2, 7, 40])
def test_few_values_are_a_dot_each(n: int) -> None:
    values = np.random.default_rng(n).uniform(0.6, 1.0, n)
    axis = _drawn(draw_distribution(values.tolist(), Axis(0.55, 1.0, "Dice")))
    dots, median = axis.get_lines()
    assert len(dots.get_xdata()) == n
    assert len(set(map(tuple, dots.get_xydata()))) == n
    assert median.get_xdata()[0] == np.median(values)


def test_many_values_are_bars_as_high_as_their_number() -> None:
    values = np.random.default_rng(0).beta(8, 2, 2000)
    axis = _drawn(draw_distribution([*values.tolist(), float("nan")], Axis(0, 1, "Dice")))
    assert [bar.get_height() for bar in axis.patches] == np.histogram(values, 20, (0, 1))[0].tolist()


def test_receptive_fields_and_objects_share_one_axis() -> None:
    """A field as wide as the typical object has its mark on the dashed line; wider ones lie to the right."""
    fields = [("level 1", 5, 5), ("level 2", 32, 32), ("output", 188, 204)]
    axis = _drawn(draw_sizes_and_fields([2.0, 32.0, 120.0], fields, typical=32.0))
    marks = [line.get_xdata().tolist() for line in axis.get_lines() if line.get_linewidth() == 6]
    assert marks == [[5, 5], [32, 32], [188, 204]]
    assert axis.get_lines()[-1].get_xdata()[0] == 32
    words = [text.get_text() for text in axis.texts]
    assert words == ["level 1: 5 px", "level 2: 32 px", "output: 188 to 204 px", "typical object"]
    assert sum(bar.get_height() for bar in axis.patches) == 15  # three bars of one object each, five high


def test_one_object_and_one_field_are_enough() -> None:
    _drawn(draw_sizes_and_fields([1.0], [("output", 1, 1)], typical=1.0))
