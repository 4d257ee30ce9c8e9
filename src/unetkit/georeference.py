"""Position of a map on the earth, and its pixels without data, as a GeoTIFF states them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

# GeoTIFF 1.1 (OGC 19-008), keys and their values
MODEL_TYPE, RASTER_TYPE, GEOGRAPHIC, PROJECTED, LINEAR_UNIT = 1024, 1025, 2048, 3072, 3076
IS_PROJECTED, PIXEL_IS_POINT, METRE = 1, 2, 9001
EPSG_CODES = range(1024, 32767)  # 0 is undefined, 32767 a definition of one's own
METRIC = (*range(32601, 32661), *range(32701, 32761), 3857)  # UTM on WGS 84, web Mercator: for files without a unit


@dataclass(frozen=True)
class GeoReference:
    """The tags of a GeoTIFF that state its position, number by number as stored, so that a mask gets the same.

    Parameters
    ----------
    pixel_scale : tuple of float
        ModelPixelScale: size of a pixel along x, y and z in units of the map. Empty where a tag is missing, here and
        below.
    tiepoints : tuple of float
        ModelTiepoint: six numbers per point, raster (column, row, 0) and map (x, y, z).
    matrix : tuple of float
        ModelTransformation: 4 x 4, row by row.
    keys : tuple of int
        GeoKeyDirectory.
    doubles : tuple of float
        GeoDoubleParams, which keys refer to.
    text : bytes
        GeoAsciiParams, likewise.
    nodata_text : str or None
        GDAL_NODATA: the value of pixels without data, as text.
    polynomials : tuple of float
        RPCCoefficient: rational polynomials that place a satellite's scene.
    """

    pixel_scale: tuple[float, ...] = ()
    tiepoints: tuple[float, ...] = ()
    matrix: tuple[float, ...] = ()
    keys: tuple[int, ...] = ()
    doubles: tuple[float, ...] = ()
    text: bytes = b""
    nodata_text: str | None = None
    polynomials: tuple[float, ...] = ()

    @property
    def transform(self) -> tuple[float, ...] | None:
        """Six numbers a, b, c, d, e, f: the point (column, row) lies at (a column + b row + c, d column + e row + f).

        (0, 0) is the outer corner of the first pixel, as GDAL has it, also where the tags speak of pixels' centres
        (PixelIsPoint). None where the file has no affine placement, but for example control points only.
        """
        if len(self.pixel_scale) >= 2 and all(self.pixel_scale[:2]) and len(self.tiepoints) >= 6:
            # GDAL's order of precedence: the scale, tied to the first point, before the matrix. North is up whatever
            # the sign of the scale: some writers put -y.
            (a, y_step), (column, row, _, x, y, _) = self.pixel_scale[:2], self.tiepoints[:6]
            b, d, e = 0.0, 0.0, -abs(y_step)
            c, f = x - column * a, y - row * e
        elif len(self.matrix) == 16:
            a, b, _, c, d, e, _, f = self.matrix[:8]
        else:
            return None
        half = 0.5 if self._key(RASTER_TYPE) == PIXEL_IS_POINT else 0.0
        return a, b, c - (a * half + b * half), d, e, f - (d * half + e * half)

    @property
    def epsg(self) -> int | None:
        """EPSG code of the map's coordinates; None where they are not stated, or not by a code."""
        code = self._key(PROJECTED)
        if code is None and self._key(MODEL_TYPE) != IS_PROJECTED:
            code = self._key(GEOGRAPHIC)
        return code if code in EPSG_CODES else None

    @property
    def nodata(self) -> float | None:
        """Value of pixels without data, which may be NaN; None where the file does not state one."""
        try:
            return None if self.nodata_text is None else float(self.nodata_text)
        except ValueError:
            return None

    @property
    def spacing_m(self) -> tuple[float, float] | None:
        """Distance between pixels along y and x in metres; None unless the map is projected in metres."""
        transform, unit, code = self.transform, self._key(LINEAR_UNIT), self._key(PROJECTED)
        is_projected = self._key(MODEL_TYPE) == IS_PROJECTED or code is not None
        if transform is None or not is_projected or not (unit == METRE or (unit is None and code in METRIC)):
            return None
        a, b, _, d, e, _ = transform
        along = math.hypot(b, e), math.hypot(a, d)
        return along if all(math.isfinite(step) and step > 0 for step in along) else None

    @property
    def linear_unit(self) -> int | None:
        """EPSG code of the unit of a projected map, such as 9001 for metres; None where it is not stated by a code."""
        return self._key(LINEAR_UNIT)

    def with_nodata(self, nodata: int | None) -> GeoReference:
        """The same place with another value for pixels without data, or none."""
        return replace(self, nodata_text=None if nodata is None else str(int(nodata)))

    def _key(self, wanted: int) -> int | None:
        """Value of a key that is stored in the directory itself: four numbers per key after a header of four."""
        for start in range(4, len(self.keys) - 3, 4):
            key, location, _, value = self.keys[start : start + 4]
            if key == wanted and location == 0:
                return value
        return None


def holds_data(array: np.ndarray, nodata: float | None, valid: np.ndarray | None = None) -> np.ndarray:
    """Mask of the samples that hold data.

    Parameters
    ----------
    array : ndarray of shape (C, *spatial)
    nodata : float or None
        Value that means "no data", as NaN always does.
    valid : ndarray of shape (*spatial), bool, optional
        A mask that the file has of its own, in place of `nodata`.

    Returns
    -------
    ndarray of shape (C, *spatial), bool
    """
    held = ~np.isnan(array) if array.dtype.kind in "fc" else np.ones(array.shape, bool)
    if valid is not None:
        held &= valid
    elif nodata is not None and not math.isnan(nodata):
        with np.errstate(over="ignore"):  # float32 pixels cannot equal a value beyond 3.4e38 but as infinity
            held &= array != nodata
    return held


def valid_mask(array: np.ndarray, nodata: float | None) -> np.ndarray:
    """Mask of the pixels in which any channel holds data, as GDAL has it: one dark band is not a hole.

    Parameters
    ----------
    array : ndarray of shape (C, *spatial)
    nodata : float or None
        Value that means "no data", as NaN always does.

    Returns
    -------
    ndarray of shape (*spatial), bool
        False where every channel is NaN or equals `nodata`.

    Examples
    --------
    >>> valid_mask(np.array([[[1.0, np.nan, -9999.0]], [[2.0, 2.0, -9999.0]]]), -9999).tolist()
    [[True, True, False]]
    """
    return np.asarray(holds_data(array, nodata).any(0))
