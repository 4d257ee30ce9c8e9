"""Print what a test environment installs, read from pyproject.toml, one requirement a line.

`oldest [TORCH]` gives the lower bound of every dependency and extra as a pin, `files` the names of what tests/io needs,
which is all but torch and what needs torch.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# timm brings torchvision, and the tests have a stand-in; ngff-zarr, which only tests use, needs a newer dask.
NOT_OLDEST = {"timm", "ngff-zarr"}
NOT_FOR_FILES = {"torch", "timm", "monai", "openvino", "nncf", "onnxruntime", "onnx", "distributed", "ruff", "mypy"}


def requirements() -> dict[str, tuple[str, str]]:
    """Name -> its extras, and its lower bound.

    Raises
    ------
    ValueError
        If a requirement has no lower bound, or a package has two.
    """
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    found: dict[str, tuple[str, str]] = {}
    extras = [requirement for group in project["optional-dependencies"].values() for requirement in group]
    for requirement in [*project["dependencies"], *extras]:
        match = re.match(r"([\w.-]+)(\[.*\])?>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound: expected name>=version")
        name, extras, bound = match[1], match[2] or "", match[3]
        if found.setdefault(name, (extras, bound)) != (extras, bound):
            raise ValueError(f"{requirement!r}, but {name}>={found[name][1]} elsewhere: state one bound")
    return found


def oldest(torch: str | None = None) -> list[str]:
    """Every lower bound as a pin; of torch another version, where one is given."""
    found = requirements()
    found["torch"] = ("", torch or found["torch"][1])
    return [f"{name}{extras}=={bound}" for name, (extras, bound) in found.items() if name not in NOT_OLDEST]


def files() -> list[str]:
    """The names of what tests of files need."""
    return [f"{name}{extras}" for name, (extras, _) in requirements().items() if name not in NOT_FOR_FILES]


if __name__ == "__main__":
    print("\n".join({"oldest": oldest, "files": files}[sys.argv[1]](*sys.argv[2:])))
