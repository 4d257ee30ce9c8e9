"""Plans as files: `plan.json` of this format, and of the older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...json_text import parse_json
from .plan import FORMAT, GROUPS, Plan
from .settings import OLD_NAMES, first_error, unknown_setting

__all__ = ["read_plan", "read_plan_file", "upgrade_plan_1"]


def read_plan(text: str) -> Plan:
    """A plan from JSON, upgraded where it is of an older format.

    Raises
    ------
    ValueError
        In one line, if it is not such JSON, is of a newer format, or a value is not possible.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"is not a plan: invalid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"is not a plan: expected an object, got {type(values).__name__}")
    if "format" not in values and not any(isinstance(values.get(group), dict) for group in GROUPS):
        values = upgrade_plan_1(values)
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise ValueError(
            f"is a plan of format {values['format']}, newer than the {FORMAT} that this version of unetkit reads: "
            "pip install --upgrade unetkit"
        )
    try:
        return Plan.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ValueError(f"is not a plan: {first_error(error)}") from None


def read_plan_file(path: Path) -> Plan:
    """A plan from a file; errors begin with its path.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    try:
        return read_plan(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def upgrade_plan_1(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a plan of format 1, which were flat, in groups.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    upgraded: dict[str, Any] = {"format": 2, "reasons": {}}
    for old, value in values.items():
        if old == "reasons":
            upgraded["reasons"] = {OLD_NAMES.get(name, name): reason for name, reason in value.items()}
        elif old not in OLD_NAMES:
            raise ValueError(f"is not a plan: {unknown_setting(old, OLD_NAMES.values())}")
        else:
            group, name = OLD_NAMES[old].split(".")
            upgraded.setdefault(group, {})[name] = value
    return upgraded
