"""The environments of `make test-oldest` and `make test-io-newest` are what pyproject.toml says."""

from pathlib import Path

import pytest
import requirements


def test_every_requirement_has_one_lower_bound() -> None:
    pins = requirements.oldest()
    assert all("==" in pin for pin in pins)
    assert "torch==2.13.0" in requirements.oldest("2.13.0")
    assert not {pin.split("==")[0] for pin in pins} & requirements.NOT_OLDEST


def test_reading_files_installs_neither_torch_nor_what_brings_it() -> None:
    names = requirements.files()
    assert {"numpy", "tifffile", "zarr", "pytest"} <= set(names)
    assert not {name.split("[")[0] for name in names} & requirements.NOT_FOR_FILES


@pytest.mark.parametrize(
    "dependencies, message",
    [('"numpy"', "'numpy' has no lower bound"), ('"zarr>=3", "zarr>=4"', "'zarr>=4', but zarr>=3 elsewhere")],
)
def test_no_bound_or_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dependencies: str, message: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[project]\ndependencies = [{dependencies}]\n[project.optional-dependencies]\n")
    monkeypatch.setattr(requirements, "PYPROJECT", path)
    with pytest.raises(ValueError, match=message):
        requirements.oldest()
