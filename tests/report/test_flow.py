"""The charts of gradients and updates show what was logged, and their sentences say what it was."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from unetkit.report import flow
from unetkit.report.flow import flow_section
from unetkit.report.run import Run, read_run
from unetkit.training.plan.plan import Plan

PARTS = ("encoder.blocks.0", "encoder.blocks.1", "ups.0", "decoder.0", "heads.0")


def run_of(folder: Path, rows: list[dict[str, Any]]) -> Run:
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(Plan(budget={"steps": 30}).model_dump_json())
    entries = [{"step": 10 * i, "elapsed_s": 10.0 * i, "loss": 1.0} | row for i, row in enumerate(rows, start=1)]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return read_run(folder)


def logged(updates: dict[str, float], gradients: dict[str, float] | None = None, n: int = 3) -> list[dict[str, Any]]:
    return [{"updates": updates, "gradients": gradients or dict.fromkeys(updates, 0.5)}] * n


def read(run: Run) -> str:
    markup = flow_section(run)
    assert markup is not None
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", markup)
    assert len(captions) == markup.count("<svg ") == markup.count("<figure>")
    assert all(caption.endswith(".") for caption in captions)
    assert not re.search(r"\b(nan|inf|None)\b", markup)
    return unescape(markup)


def test_a_chart_for_each_path_and_a_line_for_each_part(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", logged(dict(zip(PARTS, (1e-3, 2e-3, 3e-3, 4e-4, 5e-3), strict=True))))
    text = read(run)
    titles = re.findall(r"<h3>(.*?)</h3>", text)
    assert titles == [
        f"{what}, {side} path"
        for what in ("Update / weights", "Gradient norm")
        for side in ("contracting", "expanding")
    ]
    charts = re.findall(r"<svg .*?</svg>", text, flags=re.S)
    assert [chart.count("<polyline") for chart in charts] == [2, 3, 2, 3]
    assert ["usual: 0.001" in chart for chart in charts] == [True, True, False, False]
    assert "medians are from 0.001 (encoder 0) to 0.002 (encoder 1); 2 of 2 parts lie within a factor" in text
    assert "medians are from 0.0004 (decoder 0) to 0.005 (head 0); 3 of 3 parts" in text
    assert [chart.count('stroke-opacity="0.45"') for chart in charts] == [0, 1, 0, 1]
    assert "Karpathy" in text


def test_the_lines_are_what_was_logged(tmp_path: Path) -> None:
    """Heights on a logarithmic axis are in proportion to the logarithms, left to right over time."""
    rows = [logged({"encoder.blocks.0": value})[0] for value in (1e-4, 1e-3, 1e-2)]
    chart = re.findall(r"<svg .*?</svg>", read(run_of(tmp_path / "run", rows)), flags=re.S)[0]
    (points,) = re.findall(r'<polyline points="(.*?)"', chart)
    places = [tuple(map(float, pair.split(","))) for pair in points.split()]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.11)
    assert y1 > y2
    (level,) = re.findall(r'y1="([\d.]+)"[^>]*stroke="#22262b" stroke-dasharray', chart)
    assert float(level) == pytest.approx(y2, abs=0.11)


@pytest.mark.parametrize(
    "values, words",
    [
        ((1e-3, 2e-3), "No part stood still (below 0.00001) and none ran away (above 0.1)."),
        ((1e-3, 2e-6), "decoder 0 stood still (below 0.00001)."),
        ((0.0, 2e-3), "encoder 0 stood still (below 0.00001)."),
        ((0.5, 2e-3), "encoder 0 ran (above 0.1): try a smaller learning rate."),
        ((1e-7, 3.0), "encoder 0 stood still (below 0.00001); decoder 0 ran (above 0.1)"),
    ],
)
def test_the_verdict_follows_the_medians(tmp_path: Path, values: tuple[float, float], words: str) -> None:
    """A single step that is out of the ordinary is no verdict."""
    rows = logged(dict(zip(("encoder.blocks.0", "decoder.0"), values, strict=True)))
    rows = [*rows, *logged({"encoder.blocks.0": 1e-9, "decoder.0": 1e3}, n=1)]
    assert words in read(run_of(tmp_path / "run", rows))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}, {}],
        logged({"heads.0": 1e-3}, n=1),
        [{"updates": {}, "gradients": {}}] * 3,
        logged({"heads.0": 0.0}, {"heads.0": 0.0}),
        [{"updates": None, "gradients": [1]}] * 3,
    ],
    ids=["empty", "old", "one", "resumed", "zeros", "broken"],
)
def test_without_two_entries_there_is_no_section(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert flow_section(run_of(tmp_path / "run", rows)) is None


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    rows = [*logged(dict.fromkeys(PARTS, 1e-3)), *logged(dict.fromkeys(PARTS, float("nan")), n=1)]
    rows += logged(dict.fromkeys(PARTS, float("inf")), n=1)
    text = read(run_of(tmp_path / "run", rows))
    (points, *_) = re.findall(r'<polyline points="(.*?)"', text)
    assert len(points.split()) == 3


def test_a_nested_net_has_a_colour_per_level_and_no_more(tmp_path: Path) -> None:
    nodes = {f"{kind}.{i}_{j}": 1e-3 * (j + 1) for j in range(1, 5) for i in range(5 - j) for kind in ("nodes", "ups")}
    parts = nodes | {f"encoder.blocks.{i}": 1e-3 for i in range(5)} | {f"heads.{i}": 1e-3 for i in range(4)}
    text = read(run_of(tmp_path / "run", logged(parts)))
    legends = [re.findall(r"</i>(.*?)</span>", row) for row in re.findall(r'class="legend">(.*?)</div>', text)]
    assert legends[0] == ["level 0 (finest)", "level 1", "level 2", "level 3", "level 4"]
    assert legends[1] == ["level 0 (finest)", "level 1", "level 2", "level 3", "head"]
    colours = [
        set(re.findall(r'<polyline [^>]*stroke="(#\w+)"', chart)) for chart in re.findall(r"<svg .*?</svg>", text)
    ]
    assert [len(found) for found in colours] == [5, 5, 5, 5]
    assert "drawn faint" in text


@pytest.mark.parametrize(
    "name, expected",
    [
        ("encoder.blocks.3", (True, 3, "encoder 3")),
        ("encoder.stem", (True, -1, "stem")),
        ("encoder.body.layer1.0", (True, -1, "body.layer1.0")),
        ("decoder.1", (False, 1, "decoder 1")),
        ("skips.2", (False, 2, "skip 2")),
        ("nodes.1_2", (False, 1, "node 1,2")),
        ("heads.1", (False, -1, "head 1")),
        ("other", (False, -1, "other")),
    ],
)
def test_names_of_parts_are_read(name: str, expected: tuple[bool, int, str]) -> None:
    place = flow._place(name)
    assert (place.is_encoder, place.level, place.words) == expected


def test_levels_are_compared_where_there_are_several(tmp_path: Path) -> None:
    parts = dict.fromkeys(PARTS, 1e-3)
    text = read(
        run_of(tmp_path / "run", logged(parts, {"encoder.blocks.0": 2.0, "encoder.blocks.1": 0.5, "heads.0": 1.0}))
    )
    assert "at level 0 it is 4 times that at level 1" in text
    assert "the median is 1 (head 0)" in text


@pytest.mark.parametrize("values", [(1e-30, 1.0), (1e-3, 1e-3), (3e-5, 9.0)])
def test_axes_are_whole_decades_and_not_too_many(values: tuple[float, float]) -> None:
    span = flow._decades({"a": [(0.0, v) for v in values]})
    ticks = flow._Decades(span.low, span.high, "", is_log=True).ticks()
    assert 2 <= len(ticks) <= 8
    assert span.low <= max(values) <= span.high
    assert (ticks[0], ticks[-1]) == pytest.approx((span.low, span.high))
