"""File names of a run folder: stated in one module, and nowhere else in the package."""

import ast
from pathlib import Path

import pytest

import unetkit
from unetkit.model.run_paths import RunPaths

SOURCE = Path(unetkit.__file__).parent
ROOT = Path("RUN")
PROPERTIES = [name for name, value in vars(RunPaths).items() if isinstance(value, property)]
NAMES = {name: getattr(RunPaths(ROOT), name) for name in PROPERTIES}
# Parts of these paths; "last" and "int8" are words of other things too, so there only paths made of them are searched.
PARTS = {part for path in NAMES.values() for part in path.relative_to(ROOT).parts} | {"fold_", ".png"}
FILES = {part for part in PARTS if part not in ("last", "int8", ".png")}


def test_names_that_run_folders_have_had_since_the_first_version() -> None:
    assert {name: path.relative_to(ROOT).as_posix() for name, path in NAMES.items()} == {
        "plan": "plan.json",
        "data_record": "data.json",
        "model": "model.safetensors",
        "state": "last/state.safetensors",
        "log": "log.jsonl",
        "report": "report.html",
        "inspection": "inspect.html",
        "validation_json": "validation.json",
        "validation_csv": "validation.csv",
        "previews": "previews",
        "int8": "int8",
        "ensemble": "ensemble.json",
        "folds_summary": "folds.json",
        "out_of_fold": "out_of_fold",
        "cache": "cache",
    }
    assert RunPaths(ROOT).preview("best") == ROOT / "previews" / "best.png"
    assert RunPaths(ROOT).fold(3) == RunPaths(ROOT / "fold_3")


def literals(tree: ast.AST) -> set[str]:
    """Strings that are the name of a file of a run, and strings that a path is joined with."""
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    joined = {
        node.right.value
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant)
    }
    return (strings & FILES) | (joined & PARTS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_other_module_names_a_file_of_a_run(path: Path) -> None:
    if path.name != "run_paths.py":
        assert literals(ast.parse(path.read_text(encoding="utf-8"))) == set()


def test_the_parser_sees_literals() -> None:
    assert literals(ast.parse('run / "plan.json"; f"fold_{k}"; widen = "last"; run / "int8"')) == {
        "plan.json",
        "fold_",
        "int8",
    }
