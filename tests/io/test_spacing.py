from pathlib import Path

import numpy as np
import pytest
import tifffile

from unetkit import io

STACK, PLANE = np.zeros((4, 8, 9), np.uint8), np.zeros((8, 9), np.uint8)


def spacing_of(path: Path) -> tuple[tuple[float, ...], str, tuple[str, ...]]:
    image = io.read(path)
    with io.open_lazy(path) as lazy:
        assert (lazy.spacing, lazy.unit) == (image.spacing, image.unit)
    return image.spacing, image.unit, image.notes


def write(path: Path, array: np.ndarray, metadata: dict, **options: object) -> Path:
    axes = "ZYX"[-array.ndim :]
    tifffile.imwrite(path, array, metadata={"axes": axes, **metadata}, photometric="minisblack", **options)
    return path


def test_px_where_the_file_does_not_say(tmp_path: Path) -> None:
    assert spacing_of(write(tmp_path / "a.tif", STACK, {})) == ((1.0, 1.0, 1.0), "px", ())


@pytest.mark.parametrize("unit", ["µm", "nm", "mm"])
def test_ome(tmp_path: Path, unit: str) -> None:
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 1 / 3}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
    assert spacing_of(write(tmp_path / "a.tif", STACK, sizes | units, ome=True)) == ((1 / 3, 0.3, 0.1), unit, ())


def test_ome_default_unit_is_the_micrometre_and_units_are_brought_to_that_of_x(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 0.002, "PhysicalSizeZUnit": "mm"}
    spacing, unit, _ = spacing_of(write(tmp_path / "a.tif", STACK, sizes, ome=True))
    assert unit == "µm"
    assert spacing == pytest.approx((2.0, 0.5, 0.5), rel=1e-12)


def test_ome_without_z_assumes_that_of_x_and_says_so(tmp_path: Path) -> None:
    spacing, unit, notes = spacing_of(write(tmp_path / "a.tif", STACK, {"PhysicalSizeX": 0.5}, ome=True))
    assert (spacing, unit) == ((0.5, 0.5, 0.5), "µm")
    assert "pixel size of axis z not stated: taken to be that of x, 0.5 µm" in notes


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_impossible_sizes_are_ignored_and_said(tmp_path: Path, size: float) -> None:
    spacing, unit, notes = spacing_of(write(tmp_path / "a.tif", PLANE, {"PhysicalSizeX": size}, ome=True))
    assert (spacing, unit) == ((1.0, 1.0), "px")
    assert notes == (f"pixel size {size} of axis x ignored",)


def test_units_that_cannot_be_compared_are_ignored_and_said(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"}
    spacing, unit, notes = spacing_of(write(tmp_path / "a.tif", PLANE, sizes, ome=True))
    assert (spacing, unit) == ((1.0, 1.0), "px")
    assert notes == ("pixel sizes in px (y) and µm (x): not comparable, ignored",)


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "\\u00b5m"])
def test_imagej(tmp_path: Path, unit: str) -> None:
    path = write(tmp_path / "a.tif", STACK, {"spacing": 2.5, "unit": unit}, imagej=True, resolution=(5.0, 4.0))
    assert spacing_of(path) == ((2.5, 0.25, 0.2), "µm", ())


def test_imagej_without_unit_says_the_proportions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", STACK, {"spacing": 2.5}, imagej=True, resolution=(5.0, 4.0))
    assert spacing_of(path) == ((12.5, 1.25, 1.0), "px", ())
    path = write(tmp_path / "b.tif", STACK, {"spacing": 2.5}, imagej=True)
    assert spacing_of(path) == ((2.5, 1.0, 1.0), "px", ())
    path = write(tmp_path / "c.tif", STACK, {"spacing": 2.5}, imagej=True, resolution=(72.0, 72.0))
    assert spacing_of(path) == ((1.0, 1.0, 1.0), "px", ())
    path = write(tmp_path / "d.tif", STACK, {}, imagej=True, resolution=(5.0, 4.0))
    assert spacing_of(path) == ((1.0, 1.0, 1.0), "px", ())


def test_resolution_per_centimetre(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", PLANE, {}, resolution=(20000, 10000), resolutionunit="CENTIMETER")
    assert spacing_of(path) == ((1.0, 0.5), "µm", ())


@pytest.mark.parametrize(
    "per_unit, unit",
    [(72, "INCH"), (25400, "INCH"), (72 / 2.54, "CENTIMETER"), (300 / 2.54, "CENTIMETER"), (1, "CENTIMETER")],
)
def test_print_resolutions_are_no_pixel_size(tmp_path: Path, per_unit: float, unit: str) -> None:
    path = write(tmp_path / "a.tif", PLANE, {}, resolution=(per_unit, per_unit), resolutionunit=unit)
    assert spacing_of(path) == ((1.0, 1.0), "px", ())


def test_other_json_is_no_pixel_size(tmp_path: Path) -> None:
    for extra in ({"spacing": 3.0}, {"spacing": [1.0]}, {"spacing": [1.0, 2.0], "unit": 5}):
        assert spacing_of(write(tmp_path / "a.tif", PLANE, extra)) == ((1.0, 1.0), "px", ())
    spacing, _, notes = spacing_of(write(tmp_path / "a.tif", PLANE, {"spacing": [1.0, "x"], "unit": "µm"}))
    assert spacing == (1.0, 1.0)
    assert notes == ("pixel size nan of axis x ignored",)


def test_imagej_has_a_unit_per_axis(tmp_path: Path) -> None:
    units = {"spacing": 400.0, "unit": "um", "yunit": "nm", "zunit": "nm"}
    path = write(tmp_path / "a.tif", STACK, units, imagej=True, resolution=(5.0, 0.004))
    spacing, unit, _ = spacing_of(path)
    assert unit == "µm"
    assert spacing == pytest.approx((0.4, 0.25, 0.2))


def test_imagej_stacks_recorded_downwards_have_a_positive_step(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", STACK, {"spacing": -2.5, "unit": "um"}, imagej=True, resolution=(2.0, 2.0))
    assert spacing_of(path) == ((2.5, 0.5, 0.5), "µm", ())


@pytest.mark.parametrize(("unit", "per_unit"), [("inch", 300.0), ("inch", 96.0), ("cm", 72 / 2.54)])
@pytest.mark.parametrize("array", [PLANE, STACK])
def test_print_resolutions_in_imagej_files_are_not_pixel_sizes(
    tmp_path: Path, array: np.ndarray, unit: str, per_unit: float
) -> None:
    path = write(tmp_path / "a.tif", array, {"unit": unit}, imagej=True, resolution=(per_unit, per_unit))
    spacing, own, notes = spacing_of(path)
    assert (spacing, own) == ((1.0,) * array.ndim, "px")
    assert f"pixels per {unit} in ImageJ's description: a print resolution, ignored" in notes[0]


def test_a_microscopes_inches_in_imagej_files_are_pixel_sizes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", PLANE, {"unit": "inch"}, imagej=True, resolution=(50000.0, 50000.0))
    assert spacing_of(path) == ((2e-05, 2e-05), "in", ())
