"""Size of a map's pixels on the ground, row by row: the metres of Web Mercator are metres at the equator only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..georeference import GeoReference

__all__ = ["Ground", "ground_of"]

_WEB_MERCATOR = 3857
_DEGREES = (4326, 4258, 4269)  # WGS 84, ETRS89, NAD83: longitude and latitude on ellipsoids alike to a millimetre
_RADIUS_M, _ECCENTRICITY_2 = 6378137.0, 0.00669437999014  # of WGS 84: half the major axis, square of the eccentricity
_FEET = {9002: 0.3048, 9003: 1200 / 3937}  # EPSG codes of the international and of the US survey foot


@dataclass(frozen=True)
class Ground:
    """Metres along y and x of the pixels of a map.

    Attributes
    ----------
    transform : tuple of six float
        As `GeoReference.transform`.
    kind : str
        "Web Mercator", "degrees" or "feet".
    metres : float
        Of a unit of the map, where all of it has one size.
    """

    transform: tuple[float, ...]
    kind: str
    metres: float = 1.0

    def steps(self, centres: np.ndarray) -> np.ndarray:
        """Metres of a pixel along y and x at points (N, 2) of rows and columns, counted from the first pixel's middle.

        On the ellipsoid WGS 84: along the meridian by its radius of curvature there, along the parallel by its own.
        """
        a, b, _, d, e, f = self.transform
        along = np.array([np.hypot(b, e), np.hypot(a, d)])
        if self.kind == "feet":
            return np.broadcast_to(along * self.metres, centres.shape)
        y = d * (centres[:, 1] + 0.5) + e * (centres[:, 0] + 0.5) + f
        # Web Mercator is a sphere's projection of latitudes of the ellipsoid (EPSG guidance note 7-2, 1024).
        latitude = np.radians(y) if self.kind == "degrees" else 2 * np.arctan(np.exp(y / _RADIUS_M)) - np.pi / 2
        flat = 1 - _ECCENTRICITY_2 * np.sin(latitude) ** 2
        meridian = _RADIUS_M * (1 - _ECCENTRICITY_2) / flat**1.5
        parallel = _RADIUS_M * np.cos(latitude) / np.sqrt(flat)
        if self.kind == "degrees":
            unit = np.stack([np.radians(meridian), np.radians(parallel)], 1)
        else:
            unit = np.stack([meridian * np.cos(latitude) / _RADIUS_M, parallel / _RADIUS_M], 1)
        return unit * along


def ground_of(reference: GeoReference | None) -> Ground | None:
    """The ground below a map whose unit is not a true metre; None for all others.

    A map in degrees that is turned against the meridians has pixels of no one shape: it stays in pixels.
    """
    if reference is None or reference.transform is None:
        return None
    a, b, _, d, e, _ = reference.transform
    if not all(np.isfinite(reference.transform)) or a * e - b * d == 0:
        return None
    if reference.epsg == _WEB_MERCATOR:
        return Ground(reference.transform, "Web Mercator")
    if reference.epsg in _DEGREES and b == d == 0:
        return Ground(reference.transform, "degrees")
    unit = reference.linear_unit
    return Ground(reference.transform, "feet", _FEET[unit]) if unit in _FEET else None
