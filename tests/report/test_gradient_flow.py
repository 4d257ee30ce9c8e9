"""The charts of gradients and updates show what was logged, and their sentences say what it was."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unetkit.plotting.charts import draw_curves
from unetkit.report import gradient_flow
from unetkit.report.gradient_flow import gradient_flow_section
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
    markup = gradient_flow_section(run)
    assert markup is not None
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", markup)
    assert len(captions) == markup.count("<svg ") == markup.count("<figure>")
    assert all(caption.endswith(".") for caption in captions)
    assert not re.search(r"\b(nan|inf|None)\b", markup)
    return unescape(markup)


@pytest.fixture
def charts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The series and the level of every chart, in order."""
    drawn: list[tuple[Any, Any]] = []

    def draw(series: Any, x: Any, y: Any, *, level: Any) -> Any:
        drawn.append((series, level))
        return draw_curves(series, x, y, level=level)

    monkeypatch.setattr(gradient_flow, "draw_curves", draw)
    return drawn


def test_a_chart_for_each_path_and_a_line_for_each_part(tmp_path: Path, charts: list[tuple[Any, Any]]) -> None:
    run = run_of(tmp_path / "run", logged(dict(zip(PARTS, (1e-3, 2e-3, 3e-3, 4e-4, 5e-3), strict=True))))
    text = read(run)
    titles = re.findall(r"<h3>(.*?)</h3>", text)
    assert titles == [
        f"{quantity}, {side} path"
        for quantity in ("Update / weights", "Gradient norm")
        for side in ("contracting", "expanding")
    ]
    assert [len(series) for series, _ in charts] == [2, 3, 2, 3]
    assert [level for _, level in charts] == [(1e-3, "usual: 0.001")] * 2 + [None] * 2
    assert "medians are from 0.001 (encoder 0) to 0.002 (encoder 1); 2 of 2 parts lie within a factor" in text
    assert "medians are from 0.0004 (decoder 0) to 0.005 (head 0); 3 of 3 parts" in text
    assert [sum(line.opacity == 0.45 for line in series) for series, _ in charts] == [0, 1, 0, 1]
    assert "Karpathy" in text


def test_the_lines_are_what_was_logged(tmp_path: Path, charts: list[tuple[Any, Any]]) -> None:
    rows = [logged({"encoder.blocks.0": value})[0] for value in (1e-4, 1e-3, 1e-2)]
    read(run_of(tmp_path / "run", rows))
    assert charts[0][0][0].points == [(10, 1e-4), (20, 1e-3), (30, 1e-2)]


@pytest.mark.parametrize(
    "values, words",
    [
        ((1e-3, 2e-3), "No part stopped learning (below 0.00001) and none was unstable (above 0.1)."),
        ((1e-3, 2e-6), "decoder 0 did not learn (below 0.00001)."),
        ((0.0, 2e-3), "encoder 0 did not learn (below 0.00001)."),
        ((0.5, 2e-3), "encoder 0 changed too fast (above 0.1): try a smaller learning rate."),
        ((1e-7, 3.0), "encoder 0 did not learn (below 0.00001); decoder 0 changed too fast (above 0.1)"),
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
    assert gradient_flow_section(run_of(tmp_path / "run", rows)) is None


def test_values_that_are_not_finite_are_left_out(tmp_path: Path, charts: list[tuple[Any, Any]]) -> None:
    rows = [*logged(dict.fromkeys(PARTS, 1e-3)), *logged(dict.fromkeys(PARTS, float("nan")), n=1)]
    rows += logged(dict.fromkeys(PARTS, float("inf")), n=1) + logged(dict.fromkeys(PARTS, 1e308), n=1)
    read(run_of(tmp_path / "run", rows))
    assert len(charts[0][0][0].points) == 3


def test_a_nested_net_has_a_colour_per_level_and_no_more(tmp_path: Path, charts: list[tuple[Any, Any]]) -> None:
    nodes = {f"{kind}.{i}_{j}": 1e-3 * (j + 1) for j in range(1, 5) for i in range(5 - j) for kind in ("nodes", "ups")}
    parts = nodes | {f"encoder.blocks.{i}": 1e-3 for i in range(5)} | {f"heads.{i}": 1e-3 for i in range(4)}
    text = read(run_of(tmp_path / "run", logged(parts)))
    legends = [re.findall(r"</i>(.*?)</span>", row) for row in re.findall(r'class="legend">(.*?)</div>', text)]
    assert legends[0] == ["level 0 (finest)", "level 1", "level 2", "level 3", "level 4"]
    assert legends[1] == ["level 0 (finest)", "level 1", "level 2", "level 3", "head"]
    assert [len({line.colour for line in series}) for series, _ in charts] == [5, 5, 5, 5]
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
    part = gradient_flow._part(name)
    assert (part.is_encoder, part.level, part.words) == expected


def test_levels_are_compared_where_there_are_several(tmp_path: Path) -> None:
    parts = dict.fromkeys(PARTS, 1e-3)
    text = read(
        run_of(tmp_path / "run", logged(parts, {"encoder.blocks.0": 2.0, "encoder.blocks.1": 0.5, "heads.0": 1.0}))
    )
    assert "at level 0 it is 4 times that at level 1" in text
    assert "the median is 1 (head 0)" in text


@pytest.mark.parametrize("values", [(1e-30, 1.0), (1e-3, 1e-3), (3e-5, 9.0)])
def test_axes_are_whole_decades_and_not_too_many(values: tuple[float, float]) -> None:
    axis = gradient_flow._decades({"a": [(0.0, v) for v in values]})
    decades = np.log10([axis.low, axis.high])
    np.testing.assert_allclose(decades, np.rint(decades), atol=1e-9)
    assert 1 <= decades[1] - decades[0] <= 7
    assert axis.low <= max(values) <= axis.high
