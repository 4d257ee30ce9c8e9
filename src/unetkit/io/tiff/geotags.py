"""Read the tags that make a TIFF a GeoTIFF, and write them again as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tifffile

from ...georeference import GeoReference

PIXEL_SCALE, TIEPOINT, TRANSFORMATION = 33550, 33922, 34264
KEY_DIRECTORY, DOUBLE_PARAMS, ASCII_PARAMS = 34735, 34736, 34737
GDAL_NODATA, POLYNOMIALS = 42113, 50844
GEO_TAGS = (
    *(PIXEL_SCALE, TIEPOINT, TRANSFORMATION, KEY_DIRECTORY, DOUBLE_PARAMS, ASCII_PARAMS),
    *(GDAL_NODATA, POLYNOMIALS),
)
ASCII, SHORT, DOUBLE = 2, 3, 12  # TIFF 6.0, field types

# Code, field type, number of values, values, and whether it is written to the first page only: as tifffile takes them.
ExtraTag = tuple[int, int, int | None, Any, bool]
Number = TypeVar("Number", int, float)


def read_georeference(page: tifffile.TiffPage, notes: list[str]) -> GeoReference | None:
    """Read the GeoTIFF tags of a page; None where it has none.

    Parameters
    ----------
    page : TiffPage
        Of an open file.
    notes : list of str
        Gets a remark where the tags are damaged and therefore ignored.
    """
    tags = {code: page.tags.get(code) for code in GEO_TAGS}
    if all(tag is None for tag in tags.values()):
        return None
    text = tags[ASCII_PARAMS]
    try:
        return GeoReference(
            pixel_scale=_numbers(tags[PIXEL_SCALE], float),
            tiepoints=_numbers(tags[TIEPOINT], float),
            matrix=_numbers(tags[TRANSFORMATION], float),
            keys=_keys(tags[KEY_DIRECTORY]),
            doubles=_numbers(tags[DOUBLE_PARAMS], float),
            # The bytes, since keys point into them by number; the text could be decoded in more than one way.
            text=b"" if text is None else bytes(text.astuple()[3]),
            nodata_text=_ascii(tags[GDAL_NODATA]),
            polynomials=_numbers(tags[POLYNOMIALS], float),
        )
    except (ValueError, OverflowError) as error:  # an OverflowError for an infinite number in place of a key
        notes.append(f"GeoTIFF tags are damaged ({error}): its position is unknown")
        return None


def _numbers(tag: tifffile.TiffTag | None, kind: Callable[[Any], Number]) -> tuple[Number, ...]:
    if tag is None:
        return ()
    values = tag.value if isinstance(tag.value, tuple) else (tag.value,)
    wrong = next((value for value in values if not isinstance(value, int | float)), None)
    if wrong is not None:
        raise ValueError(f"tag {tag.code} holds {type(wrong).__name__} {str(wrong)[:40]!r}, expected numbers")
    return tuple(kind(value) for value in values)


def _keys(tag: tifffile.TiffTag | None) -> tuple[int, ...]:
    keys = _numbers(tag, int)
    if any(key not in range(2**16) for key in keys):
        raise ValueError(f"keys from {min(keys)} to {max(keys)}, expected 16-bit numbers")
    return keys


def _ascii(tag: tifffile.TiffTag | None) -> str | None:
    if tag is None:
        return None
    text = tag.value.decode("ascii") if isinstance(tag.value, bytes) else str(tag.value)
    text.encode("ascii")
    return text


def geo_tags(georeference: GeoReference | None) -> list[ExtraTag]:
    """Make the tags of a georeference, for `extratags` of tifffile."""
    if georeference is None:
        return []
    numbers = (
        (PIXEL_SCALE, DOUBLE, georeference.pixel_scale),
        (TIEPOINT, DOUBLE, georeference.tiepoints),
        (TRANSFORMATION, DOUBLE, georeference.matrix),
        (KEY_DIRECTORY, SHORT, georeference.keys),
        (DOUBLE_PARAMS, DOUBLE, georeference.doubles),
        (POLYNOMIALS, DOUBLE, georeference.polynomials),
    )
    tags: list[ExtraTag] = [(code, kind, len(value), value, True) for code, kind, value in numbers if value]
    if georeference.text:
        tags.append((ASCII_PARAMS, ASCII, None, georeference.text, True))
    return tags + nodata_tags(georeference)


def nodata_tags(georeference: GeoReference | None) -> list[ExtraTag]:
    """Make the tag for pixels without data alone, which reduced copies of an image have as well."""
    if georeference is None or georeference.nodata_text is None:
        return []
    return [(GDAL_NODATA, ASCII, None, georeference.nodata_text, True)]
