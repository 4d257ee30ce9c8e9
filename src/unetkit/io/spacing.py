"""Physical pixel size: units, and the statements of TIFF files in OME, tifffile's JSON, ImageJ and resolution tags."""

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
    """Read the spacing and unit of the first image of a TIFF.

    From OME metadata, the JSON that tifffile and this package write, ImageJ metadata or the resolution tags: the first
    that states it. Resolution per inch in a plain TIFF is ignored, and so is a usual print resolution per centimetre:
    it is meant for printers and does not measure a pixel.

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
        Assumptions, for the user.
    """
    for sizes in (_ome(tif), _json(tif, spatial), _imagej(tif), _resolution(tif)):
        if sizes:
            return completed(sizes, spatial)
    return (1.0,) * len(spatial), "px", []


def completed(sizes: Sizes, spatial: str) -> tuple[tuple[float, ...], str, list[str]]:
    """Bring pixel sizes to one number per axis in one unit, that of x."""
    positive = {axis: entry for axis, entry in sizes.items() if 0 < entry[0] < math.inf}
    clean = {axis: (size, ALIASES.get(unit.lower(), unit)) for axis, (size, unit) in positive.items()}
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


def _number(text: object) -> float:
    """The number, or NaN for anything else."""
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
    attributes = {} if pixels is None else pixels.attrib
    names = {axis: f"PhysicalSize{axis.upper()}" for axis in "xyz"}
    return {
        axis: (_number(attributes[name]), attributes.get(f"{name}Unit", "µm"))  # the schema's default unit
        for axis, name in names.items()
        if name in attributes
    }


def _json(tif: tifffile.TiffFile, spatial: str) -> Sizes:
    shaped = tif.shaped_metadata
    description = shaped[0] if shaped else {}
    spacing, unit = description.get("spacing"), description.get("unit", "px")
    if not isinstance(spacing, list) or len(spacing) != len(spatial) or not isinstance(unit, str):
        return {}
    return {axis: (_number(size), unit) for axis, size in zip(spatial, spacing, strict=True)}


def _imagej(tif: tifffile.TiffFile) -> Sizes:
    metadata = tif.imagej_metadata or {}
    unit = str(metadata.get("unit", ""))
    if ALIASES.get(unit.lower(), unit) == "px":
        return {}
    per_unit = _per_unit(tif)
    sizes: Sizes = {axis: (1 / number, unit) for axis, number in per_unit.items() if number}
    return sizes | ({"z": (_number(metadata["spacing"]), unit)} if "spacing" in metadata else {})


def _resolution(tif: tifffile.TiffFile) -> Sizes:
    if tif.pages.first.tags.valueof(RESOLUTION_UNIT) != CENTIMETRE:
        return {}
    per_cm = _per_unit(tif)
    is_for_print = (any(abs(number * 2.54 - dpi) < 0.05 for dpi in PRINTER_DPI) for number in per_cm.values())
    if min(per_cm.values()) <= 1 or any(is_for_print):
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
