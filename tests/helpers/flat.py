"""Trainings from short options, for tests: `small(data, out=..., widths=(4, 8), patch=16)`."""

from typing import Any

from unetkit.training.cross_validation import CrossValidation, cross_validate
from unetkit.training.loop import train
from unetkit.training.plan.settings import OLD_NAMES, PlanSettings, merge_settings
from unetkit.training.run import Run

_OPTIONS = ("out", "time_s", "steps", "resume", "progress", "folds")


def flat_settings(**values: Any) -> PlanSettings:
    """Settings from flat names, such as net="unet++", patch=64; those that are None are left out."""
    return merge_settings((OLD_NAMES.get(name, name), value) for name, value in values.items() if value is not None)


def train_flat(*data: Any, **values: Any) -> Run:
    """`train`, its settings by flat names."""
    options = {name: values.pop(name) for name in _OPTIONS if name in values}
    return train(*data, settings=flat_settings(**values), **options)


def cross_validate_flat(*data: Any, **values: Any) -> CrossValidation:
    """`cross_validate`, its settings by flat names."""
    options = {name: values.pop(name) for name in _OPTIONS if name in values and name != "steps"}
    return cross_validate(*data, settings=flat_settings(**values), **options)
