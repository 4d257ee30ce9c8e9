import xml.etree.ElementTree as ET

import numpy as np
import pytest

from unetkit.plotting.charts import Axis, Series, curves, distribution, sizes_and_fields

PLACES = ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy")


def _parsed(svg: str) -> tuple[ET.Element, float, float]:
    root = ET.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    return root, width, height


def _assert_inside(svg: str) -> ET.Element:
    """Every mark lies within the picture, and no coordinate is nan."""
    root, width, height = _parsed(svg)
    for element in root.iter():
        a = {name: float(value) for name, value in element.attrib.items() if name in PLACES}
        for name, value in a.items():
            assert 0 <= value <= (width if "x" in name else height), (element.tag, element.attrib)
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
        if element.tag == "text":  # about 6.3 units per letter of this size
            length = 6.3 * len(element.text or "")
            start = {"start": a["x"], "middle": a["x"] - length / 2, "end": a["x"] - length}
            if "transform" not in element.attrib:
                left = start[element.attrib["text-anchor"]]
                assert left >= -4
                assert left + length <= width + 4
    return root


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0.9, 1.0), (0, 2.7), (0, 137), (0, 3e-4), (0.31, 0.33), (0, 5.2e6), (-0.4, 0.1)]
)
def test_ticks_are_round_few_and_evenly_spaced(low: float, high: float) -> None:
    ticks = Axis(low, high, "").ticks()
    assert 2 <= len(ticks) <= 6
    assert low - 1e-12 <= ticks[0]
    assert ticks[-1] <= high * (1 + 1e-9) + 1e-12
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert f"{steps[0]:.0e}"[0] in "125"


@pytest.mark.parametrize("low, high", [(1.3, 210), (3, 17), (0.8, 40_000)])
def test_logarithmic_ticks_are_one_two_five(low: float, high: float) -> None:
    ticks = Axis(low, high, "", is_log=True).ticks()
    assert len(ticks) >= 2
    assert all(low <= tick <= high and f"{tick:.0e}"[0] in "125" for tick in ticks)


@pytest.mark.parametrize("is_log", [False, True])
def test_an_axis_runs_from_zero_to_one_in_order(is_log: bool) -> None:
    axis = Axis(2.0, 50.0, "", is_log=is_log)
    values = np.linspace(2, 50, 30)
    places = [axis.at(value) for value in values]
    assert (places[0], places[-1]) == (0, pytest.approx(1))
    assert np.all(np.diff(places) > 0)
    assert axis.at(10.0) == pytest.approx(0.5 if is_log else 8 / 48)


def test_curves_stay_inside_and_leave_out_what_is_not_finite() -> None:
    points = [(0.0, 0.0), (1.0, float("nan")), (2.0, 0.7), (float("inf"), 0.1), (4.0, 1.0)]
    svg = curves([Series(points, has_dots=True)], Axis(0, 4, "time"), Axis(0, 1, "Dice"), level=(0.99, "kept <best>"))
    root = _assert_inside(svg)
    line = next(root.iter("polyline"))
    assert len(line.attrib["points"].split()) == len(list(root.iter("circle"))) == 3
    assert "kept <best>" in [element.text for element in root.iter("text")]


@pytest.mark.parametrize("n", [2, 7, 40])
def test_few_values_are_a_dot_each(n: int) -> None:
    values = np.random.default_rng(n).uniform(0.6, 1.0, n)
    root = _assert_inside(distribution(values.tolist(), Axis(0.55, 1.0, "Dice")))
    assert len(list(root.iter("circle"))) == n


def test_many_values_are_bars_as_high_as_their_number() -> None:
    values = np.random.default_rng(0).beta(8, 2, 2000)
    root = _assert_inside(distribution([*values.tolist(), float("nan")], Axis(0, 1, "Dice")))
    heights = [float(bar.attrib["height"]) for bar in root.iter("rect")]
    assert not list(root.iter("circle"))
    counts = [n for n in np.histogram(values, 20, (0, 1))[0] if n]
    np.testing.assert_allclose(np.array(heights) / sum(heights), np.array(counts) / 2000, atol=2e-3)


def test_receptive_fields_and_objects_share_one_axis() -> None:
    """A field as wide as the typical object has its mark on the dashed line; wider ones lie to the right."""
    fields = [("level 1", 5, 5), ("level 2", 32, 32), ("output", 188, 204)]
    root = _assert_inside(sizes_and_fields([2.0, 32.0, 120.0], fields, typical=32.0))
    dashed = next(line for line in root.iter("line") if "stroke-dasharray" in line.attrib)
    marks = [rect for rect in root.iter("rect") if "rx" in rect.attrib]
    starts = [float(mark.attrib["x"]) + 4 for mark in marks]
    assert starts == sorted(starts)
    assert starts[1] == pytest.approx(float(dashed.attrib["x1"]), abs=0.2)
    widths = [float(mark.attrib["width"]) - 8 for mark in marks]
    assert widths[:2] == [0, 0]
    assert widths[2] > 0
    assert "output: 188 to 204 px" in [element.text for element in root.iter("text")]


def test_one_object_and_one_field_are_enough() -> None:
    _assert_inside(sizes_and_fields([1.0], [("output", 1, 1)], typical=1.0))
