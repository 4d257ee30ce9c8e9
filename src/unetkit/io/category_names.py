"""Names of the values of a raster, as GDAL keeps them in the file .aux.xml beside it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from .decoder_errors import Refused

__all__ = ["category_names"]

_MOST_BYTES = 2**24
# Usage of a column of a raster attribute table (GDALRATFieldUsage).
_NAME, _MIN, _MIN_MAX = "2", "3", "5"
_NAME_COLUMNS, _VALUE_COLUMNS = ("class_name", "classname", "class", "name", "label", "category"), ("value", "id")


def category_names(path: Path) -> dict[int, str]:
    """Name of every value of the first band of a raster that has one: CategoryNames, else its attribute table.

    Raises
    ------
    Refused
        If the file beside the raster has names and cannot be read.
    """
    file = path.with_name(path.name + ".aux.xml")
    if not file.is_file():
        return {}
    if file.stat().st_size > _MOST_BYTES:
        raise Refused(f"{file.name} beside it has {file.stat().st_size} bytes: expected at most {_MOST_BYTES}")
    content = file.read_bytes()
    if b"<CategoryNames" not in content and b"<GDALRasterAttributeTable" not in content:
        return {}
    if b"<!DOCTYPE" in content:  # entities could be nested without end
        raise Refused(f"{file.name} beside it declares a document type: GDAL writes none")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise Refused(f"{file.name} beside it is not XML ({error})") from None
    band = next((band for band in root.iter("PAMRasterBand") if band.get("band", "1") == "1"), None)
    if band is None:
        return {}
    listed = [(category.text or "").strip() for category in band.iterfind("CategoryNames/Category")]
    names = {value: name for value, name in enumerate(listed) if name}
    return names or _of_table(band.find("GDALRasterAttributeTable"))


def _of_table(table: ElementTree.Element | None) -> dict[int, str]:
    """Names of a table with a column of values and one of names; empty where it has none."""
    if table is None:
        return {}
    columns = [
        ((field.findtext("Name") or "").strip().lower(), (field.findtext("Usage") or "").strip())
        for field in table.iterfind("FieldDefn")
    ]
    value = _column(columns, (_MIN_MAX, _MIN), _VALUE_COLUMNS)
    name = _column(columns, (_NAME,), _NAME_COLUMNS)
    if value is None or name is None:
        return {}
    names: dict[int, str] = {}
    for row in table.iterfind("Row"):
        cells = [(cell.text or "").strip() for cell in row.iterfind("F")]
        if len(cells) == len(columns) and cells[name] and _is_whole(cells[value]):
            names[int(float(cells[value]))] = cells[name]
    return names


def _column(columns: list[tuple[str, str]], usages: tuple[str, ...], called: tuple[str, ...]) -> int | None:
    """Index of the column of a usage, else of a name, the likeliest first."""
    for usage in usages:
        for index, (_, own) in enumerate(columns):
            if own == usage:
                return index
    order = [index for name in called for index, (own, _) in enumerate(columns) if own == name]
    return order[0] if order else None


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False
