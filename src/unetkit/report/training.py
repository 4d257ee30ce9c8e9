"""The sections of a report on the training: its curves, its plan with the reasons, its timings."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from statistics import fmean
from typing import Any

import numpy as np

from ..labels import colours
from ..plotting.charts import Axis, Series, draw_curves
from ..plotting.html import Html, duration, figure, grid, paragraph, section, table
from ..plotting.matplotlib_style import svg
from ..plotting.palette import ACCENT, INK
from ..training.plan.plan import GROUPS
from .run import Run

__all__ = ["class_colour", "curves_section", "plan_section", "time_unit", "timings_section"]

_MOST_POINTS = 400  # more cannot be distinguished on a screen
_RISING = 0.005  # Dice gained in the last quarter of a training that would profit from more time


def class_colour(index: int) -> str:
    """CSS colour of a class (1 or more), the same as in the overlays."""
    return "#{:02x}{:02x}{:02x}".format(*colours.class_colour(index))


# --- curves ---


def curves_section(run: Run) -> Html:
    """Loss, validation Dice and learning rate over time."""
    charts = [chart for chart in (_loss(run), _dice(run), _learning_rate(run)) if chart]
    if not charts:
        return section("Training curves", paragraph("No step has been logged yet."))
    few = len(run.log) < 2
    words = "Fewer than two validations were logged, so Dice and learning rate have no curve." if few else ""
    return section("Training curves", grid(*charts), *([paragraph(words)] if words else []))


def time_unit(last_s: float) -> tuple[float, str]:
    """Seconds per unit of the time axis, and the axis's label."""
    units = ((3600.0, "hours"), (60.0, "minutes"))
    unit_s, name = next((pair for pair in units if last_s >= 2 * pair[0]), (1.0, "seconds"))
    return unit_s, f"training time ({name})"


def _loss(run: Run) -> Html | None:
    times, losses = _loss_points(run)
    n = len(losses)
    if n < 2:
        return None
    window = max(1, n // 25, min(10, n // 4))
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    first = np.maximum(np.arange(n) - window + 1, 0)
    smooth = (sums[1:] - sums[first]) / (np.arange(n) - first + 1)
    unit_s, label = time_unit(times[-1])
    top = max(float(np.quantile(losses, 0.995)), smooth.max()) * 1.05
    few = slice(None, None, max(1, n // _MOST_POINTS))
    lines = [
        Series(list(zip(times[few] / unit_s, np.minimum(losses, top)[few], strict=True)), width=1, opacity=0.35),
        Series(list(zip(times[few] / unit_s, smooth[few], strict=True))),
    ]
    chart = draw_curves(lines, Axis(0, times[-1] / unit_s, label), Axis(min(0.0, losses.min()), top, "loss"))
    mean = f"the mean over {window} {'steps' if run.state.get('losses') else 'entries'}" if window > 1 else "it"
    words = f"Loss (Dice and cross-entropy): {mean} went from {smooth[0]:.3g} to {smooth[-1]:.3g}"
    words += "; single values are drawn faint." if window > 1 else "."
    return figure(svg(chart, label=f"loss over {label}"), words, title="Loss")


def _loss_points(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and losses of all steps; without the last state those in the log, means of 50 steps."""
    losses = np.asarray(run.state.get("losses") or [], dtype=np.float64)
    log = [(entry["step"], entry["elapsed_s"], entry["loss"]) for entry in run.log if "loss" in entry]
    if len(losses):  # only validations are logged with their time: steps between them are spaced evenly
        known = [(0, 0.0), *((step, time) for step, time, _ in log if step <= run.steps), (run.steps, run.time_s)]
        times = np.interp(np.arange(1, len(losses) + 1), *np.transpose(known))
    else:
        times, losses = np.array([time for _, time, _ in log]), np.array([loss for *_, loss in log])
    is_finite = np.isfinite(losses)
    return times[is_finite], losses[is_finite]


def _dice(run: Run) -> Html | None:
    entries = [entry for entry in run.log if entry.get("mean_dice") is not None]
    if len(entries) < 2:
        return None
    unit_s, label = time_unit(run.time_s)
    classes = _class_names(run, len(entries[0].get("dice", [])))
    times = [entry["elapsed_s"] / unit_s for entry in entries]
    means = [entry["mean_dice"] for entry in entries]
    lines, legend = [], []
    if 1 < len(classes) <= len(colours.COLOURS) - 1:
        for c, name in enumerate(classes):
            values = [entry["dice"][c] for entry in entries]
            lines.append(Series(list(zip(times, values, strict=True)), class_colour(c + 1), 1.5))
            legend.append((class_colour(c + 1), name))
    lines.append(Series(list(zip(times, means, strict=True)), INK if lines else ACCENT, has_dots=True))
    if legend:
        legend.append((INK, "mean"))
    kept = run.evaluation.dice if run.evaluation else None
    values = [y for line in lines for _, y in line.points if isfinite(y)] + ([kept] if kept is not None else [])
    low = max(0.0, (min(values) * 20 // 1) / 20 - 0.05)
    level = (kept, f"kept model {kept:.3f}") if kept is not None else None
    x = Axis(0, max(run.time_s / unit_s, times[-1]), label)
    chart = draw_curves(lines, x, Axis(low, 1.0, "Dice"), level=level)
    return figure(svg(chart, label=f"Dice over {label}"), _describe_dice(means), title="Validation Dice", legend=legend)


def _describe_dice(means: list[float]) -> str:
    gain = means[-1] - means[-1 - max(1, len(means) // 4)]
    words = f"Overlap with the truth went from {means[0]:.3f} to {means[-1]:.3f}"
    if gain > _RISING:
        return f"{words} and was still rising by {gain:.3f} in the last quarter: more training time is likely to help."
    if max(means) - means[-1] > _RISING:
        return f"{words}, below its best of {max(means):.3f}: the model with the best validation score is kept."
    return f"{words} and had levelled off: more training time alone is not likely to help."


def _learning_rate(run: Run) -> Html | None:
    points = [(entry["elapsed_s"], entry["learning_rate"]) for entry in run.log if "learning_rate" in entry]
    if len(points) < 2:
        return None
    unit_s, label = time_unit(run.time_s)
    x = Axis(0, max(run.time_s, points[-1][0]) / unit_s, label)
    lines = [Series([(t / unit_s, rate * 1e3) for t, rate in points], has_dots=True)]
    peak = run.plan.optim.learning_rate * 1e3
    chart = draw_curves(lines, x, Axis(0, peak * 1.05, "learning rate (thousandths)"))
    final = run.plan.optim.final_lr_fraction
    then = "stays constant" if final == 1 else f"decays as a cosine to {final:.0%} of it"
    words = (
        f"The learning rate warms up to {peak / 1e3:g} and then {then}; the model is an average of the weights over "
        "the last steps."
    )
    return figure(svg(chart, label=f"learning rate over {label}"), words, title="Learning rate")


def _class_names(run: Run, n: int) -> list[str]:
    names = run.card.scored_classes[1:] if run.card else []
    return names if len(names) == n else [f"class {i + 1}" for i in range(n)]


# --- plan ---


def plan_section(run: Run) -> Html:
    """Every value of the plan: the derived ones with their reasons, then the others."""
    plan = run.plan
    shown = {*plan.reasons, "net.architecture"}
    values = {f"{group}.{name}": value for group in GROUPS for name, value in getattr(plan, group)}
    others = [(path, value_text(value)) for path, value in values.items() if path not in shown]
    architecture = plan.net.architecture.items()
    net = [(name, value_text(value)) for name, value in architecture if f"net.{name}" not in shown]
    return section(
        "Plan",
        paragraph(
            "All settings of the training. Those with a reason were derived from the data, the budget and the machine; "
            "any of them can be set instead, by these names."
        ),
        table(["setting", "value", "reason"], plan.describe(), caption="Derived", is_prose=True),
        grid(
            table(["setting", "value"], others, caption="Set or default", is_prose=True),
            table(["setting", "value"], net, caption="Net", is_prose=True),
        ),
    )


def value_text(value: Any) -> str:
    """A value of a plan as text; a table of equal rows is written once.

    >>> value_text([[3, 3], [3, 3]]), value_text((256, 256)), value_text(None), value_text(True)
    ('3 x 3 at every level', '256 x 256', '-', 'yes')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        rows = [value_text(row) for row in value]
        return f"{rows[0]} at every level" if len(set(rows)) == 1 else "; ".join(rows)
    return " x ".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)


# --- timings ---


def timings_section(run: Run) -> Html:
    """Steps, times and versions."""
    rows = [("steps", f"{run.steps:,}"), ("training time", duration(run.time_s))]
    validations_s = [entry["validation_s"] for entry in run.log if "validation_s" in entry]
    if run.steps and run.time_s > sum(validations_s):
        rows.append(("steps per second", f"{run.steps / (run.time_s - sum(validations_s)):.2f}"))
    if validations_s:
        n, share = len(validations_s), sum(validations_s) / run.time_s if run.time_s else 0.0
        rows.append(("validations", f"{n}, {fmean(validations_s):.1f} s each, {share:.0%} of the time"))
    versions = [("unetkit, of the model", run.card.version)] if run.card else []
    for name in ("unetkit", "torch", "numpy"):
        with suppress(PackageNotFoundError):
            versions.append((f"{name}, here", version(name)))
    versions += [("Python, here", platform.python_version()), ("system, here", platform.platform(terse=True))]
    parts = (
        table(["quantity", "value"], rows, caption="Time", is_prose=True),
        table(["software", "version"], versions, caption="Versions", is_prose=True),
    )
    return section("Timings and versions", grid(*parts))
