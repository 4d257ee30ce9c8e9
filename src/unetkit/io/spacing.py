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
    that states it. Resolution per inch in a plain TIFF is ignored, and so is a usual print resolution per inch or
    centimetre, in ImageJ files too, which take it from pictures: it is meant for printers and does not measure a pixel.

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
    notes: list[str] = []
    for sizes in (_ome(tif), _json(tif, spatial), _imagej(tif, notes), _resolution(tif)):
        if sizes:
            spacing, unit, assumed = completed(sizes, spatial)
            return spacing, unit, notes + assumed
    return (1.0,) * len(spatial), "px", notes


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


def in_unit(length: float, unit: str, wanted: str) -> float:
    """A length in another unit; as it is where the two cannot be compared."""
    own = ALIASES.get(unit.lower(), unit)
    return length * (METRES[own] / METRES[wanted]) if own != wanted and {own, wanted} <= METRES.keys() else length


def _number(text: object) -> float:
    """The number, or NaN for anything else."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def ome_sizes(tif: tifffile.TiffFile) -> list[tuple[int, int]]:
    """Height and width of every image that the OME-XML of a TIFF describes; none where there is no OME-XML."""
    sizes = [(_number(pixels.get("SizeY")), _number(pixels.get("SizeX"))) for pixels in _ome_pixels(tif)]
    return [(int(y), int(x)) for y, x in sizes if math.isfinite(y) and math.isfinite(x)]


def _ome_pixels(tif: tifffile.TiffFile) -> list[ElementTree.Element]:
    """The images of the OME-XML."""
    if not tif.ome_metadata:
        return []
    try:
        return ElementTree.fromstring(tif.ome_metadata).findall(".//{*}Pixels")
    except ElementTree.ParseError:
        return []


def _ome(tif: tifffile.TiffFile) -> Sizes:
    pixels = _ome_pixels(tif)
    attributes = pixels[0].attrib if pixels else {}
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


def _imagej(tif: tifffile.TiffFile, notes: list[str]) -> Sizes:
    metadata = tif.imagej_metadata or {}
    units = {axis: str(metadata.get(f"{axis}unit", metadata.get("unit", ""))) for axis in "xyz"}  # y and z may differ
    unit, per_unit = units["x"], _per_unit(tif)
    of_x = ALIASES.get(unit.lower(), unit)
    if of_x == "px":
        return _proportions(metadata, per_unit)
    if of_x in ("in", "cm") and _is_for_print(per_unit, METRES[of_x]):
        notes.append(f"{per_unit['x']:g} pixels per {unit} in ImageJ's description: a print resolution, ignored")
        return {}
    sizes: Sizes = {axis: (1 / number, units[axis]) for axis, number in per_unit.items() if number}
    # The sign is a direction: of stacks that were recorded downwards.
    return sizes | ({"z": (abs(_number(metadata["spacing"])), units["z"])} if "spacing" in metadata else {})


def _proportions(metadata: dict[str, object], per_unit: dict[str, float]) -> Sizes:
    """Steps between planes and rows in those between columns: without a unit, a file still says how they compare."""
    if "spacing" not in metadata or _is_for_print(per_unit, METRES["in"]):
        return {}
    x, y = (1 / number if number else 1.0 for number in per_unit.values())
    return {"x": (1.0, "px"), "y": (y / x, "px"), "z": (abs(_number(metadata["spacing"])) / x, "px")}


def _resolution(tif: tifffile.TiffFile) -> Sizes:
    if tif.pages.first.tags.valueof(RESOLUTION_UNIT) != CENTIMETRE:
        return {}
    per_cm = _per_unit(tif)
    if min(per_cm.values()) <= 1 or _is_for_print(per_cm, METRES["cm"]):
        return {}
    return {axis: (1e4 / per_cm[axis], "µm") for axis in "xy"}


def _is_for_print(per_unit: dict[str, float], metres: float) -> bool:
    """Whether pixels per unit of that many metres are a usual resolution of printers and screens."""
    per_inch = [number * METRES["in"] / metres for number in per_unit.values()]
    return any(abs(number - dpi) < 0.05 for number in per_inch for dpi in PRINTER_DPI)


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
