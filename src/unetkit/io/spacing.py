"""Physical pixel size: units, and what TIFF files say in OME, tifffile's JSON, ImageJ and resolution tags."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import tifffile

METRES = {"pm": 1e-12, "Å": 1e-10, "nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "in": 0.0254}
ALIASES = {
    "um": "µm",
    "μm": "µm",  # the Greek letter, where the sign for micro is another character
    "\\u00b5m": "µm",
    "micron": "µm",
    "microns": "µm",
    "micrometer": "µm",
    "micrometre": "µm",
    "picometer": "pm",
    "picometre": "pm",
    "nanometer": "nm",
    "nanometre": "nm",
    "angstrom": "Å",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "meter": "m",
    "metre": "m",
    "inch": "in",
    "inches": "in",
    "": "px",
    "pixel": "px",
    "pixels": "px",
    "voxel": "px",
    "reference frame": "px",
}
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
CENTIMETRE = 3
PRINTER_DPI = (72, 96, 100, 150, 200, 300, 600, 1200)

Sizes = dict[str, tuple[float, str]]  # axis letter -> pixel size and its unit


def pixel_size(tif: tifffile.TiffFile, spatial: str) -> tuple[tuple[float, ...], str, list[str]]:
    """Spacing and unit of the first image of a TIFF, and what was assumed.

    Taken from the first of OME metadata, the JSON that tifffile and this package write, ImageJ metadata and the
    resolution tags that says so. Resolution per inch in a plain TIFF is ignored, and so is one per centimetre that
    is a usual print resolution: it tells how to print the image, not how large a pixel is.

    Parameters
    ----------
    tif : TiffFile
    spatial : "yx" or "zyx"

    Returns
    -------
    spacing : tuple of float
        One entry per letter of `spatial`; 1.0 where the file does not say.
    unit : str
        "px" where the file does not say.
    notes : list of str
    """
    for sizes in (_ome(tif), _json(tif, spatial), _imagej(tif), _resolution(tif)):
        if sizes:
            return completed(sizes, spatial)
    return (1.0,) * len(spatial), "px", []


def completed(sizes: Sizes, spatial: str) -> tuple[tuple[float, ...], str, list[str]]:
    """One number per axis in one unit: that of x."""
    clean = {axis: (size, ALIASES.get(unit.lower(), unit)) for axis, (size, unit) in sizes.items() if _is_size(size)}
    notes = [f"pixel size {size} of axis {axis} ignored" for axis, (size, _) in sizes.items() if axis not in clean]
    if "x" not in clean:
        return (1.0,) * len(spatial), "px", notes
    size_x, unit = clean["x"]
    spacing = []
    for axis in spatial:
        size, own = clean.get(axis, (size_x, unit))
        if own != unit and not (own in METRES and unit in METRES):
            notes.append(f"pixel sizes in {own} ({axis}) and {unit} (x): not comparable, ignored")
            return (1.0,) * len(spatial), "px", notes
        if axis not in clean and unit != "px":
            notes.append(f"pixel size of axis {axis} not stated: taken to be that of x, {size_x:g} {unit}")
        spacing.append(size if own == unit else size * (METRES[own] / METRES[unit]))
    return tuple(spacing), unit, notes


def _is_size(size: float) -> bool:
    return math.isfinite(size) and size > 0


def _number(text: object) -> float:
    """The number, or NaN for anything that is none."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _ome(tif: tifffile.TiffFile) -> Sizes:
    if not tif.ome_metadata:
        return {}
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return {}
    pixels = root.find(".//{*}Pixels")
    given = {} if pixels is None else pixels.attrib
    # The schema's default unit is the micrometre.
    return {
        axis: (_number(given[f"PhysicalSize{axis.upper()}"]), given.get(f"PhysicalSize{axis.upper()}Unit", "µm"))
        for axis in "xyz"
        if f"PhysicalSize{axis.upper()}" in given
    }


def _json(tif: tifffile.TiffFile, spatial: str) -> Sizes:
    shaped = tif.shaped_metadata
    given = shaped[0] if shaped else {}
    spacing, unit = given.get("spacing"), given.get("unit", "px")
    if not isinstance(spacing, list) or len(spacing) != len(spatial) or not isinstance(unit, str):
        return {}
    return {axis: (_number(size), unit) for axis, size in zip(spatial, spacing, strict=True)}


def _imagej(tif: tifffile.TiffFile) -> Sizes:
    given = tif.imagej_metadata or {}
    unit = str(given.get("unit", ""))
    if ALIASES.get(unit.lower(), unit) == "px":
        return {}
    per_unit = _per_unit(tif)
    sizes: Sizes = {axis: (1 / number, unit) for axis, number in per_unit.items() if number}
    return sizes | ({"z": (_number(given["spacing"]), unit)} if "spacing" in given else {})


def _resolution(tif: tifffile.TiffFile) -> Sizes:
    if tif.pages.first.tags.valueof(RESOLUTION_UNIT) != CENTIMETRE:
        return {}
    per_cm = _per_unit(tif)
    if any(per_cm[axis] <= 1 or _is_print_resolution(per_cm[axis]) for axis in "xy"):
        return {}
    return {axis: (1e4 / per_cm[axis], "µm") for axis in "xy"}


def _per_unit(tif: tifffile.TiffFile) -> dict[str, float]:
    """Pixels per unit of the resolution tags along x and y; 0 where there is none."""
    numbers = {}
    for axis, code in (("x", X_RESOLUTION), ("y", Y_RESOLUTION)):
        value = tif.pages.first.tags.valueof(code, default=(0, 1))
        numerator, denominator = value if _is_fraction(value) else (0, 1)
        numbers[axis] = numerator / denominator if denominator else 0.0
    return numbers


def _is_fraction(value: object) -> bool:
    """Whether a tag holds two whole numbers, as TIFF 6.0 wants a resolution."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(number, int) for number in value)


def _is_print_resolution(per_cm: float) -> bool:
    return any(abs(per_cm * 2.54 - dpi) < 0.05 for dpi in PRINTER_DPI)
