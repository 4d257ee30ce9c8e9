"""Spectra: the energy of an array over spatial frequencies, and of patterns that repeat every few pixels.

Frequencies are in cycles per pixel along each axis: a wave of 1/8 repeats every 8 pixels. Waves above 1/2 cannot be
distinguished from coarser ones (Nyquist); on a grid of every s-th pixel the limit is 1/(2 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...plotting.matplotlib_style import new_figure
from ...plotting.palette import ACCENT, COLOURS, QUIET, WARM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Line",
    "PeriodicEnergy",
    "Spectrum",
    "draw_periodic_energy",
    "draw_spectra",
    "periodic_energy",
    "radial_spectrum",
]
__all__ += ["share_above"]

_MOST_RINGS = 256  # more cannot be distinguished in a picture
_ROUNDING = 1e-13  # energy, as a share of the mean square, that is rounding, not signal
_FLOOR = 1e-7  # the smallest share that is drawn


@dataclass(frozen=True)
class Spectrum:
    """Energy over frequency, for all directions together.

    Attributes
    ----------
    frequencies : ndarray of shape (R,), float64
        Mean length of the frequency vectors of each ring, ascending, in cycles per pixel; above 1/2 only diagonals.
    power : ndarray of shape (R,), float64
        Mean energy of a mode (one wave of one direction) of the ring, in the array's unit squared.
    modes : ndarray of shape (R,), float64
        Modes in each ring.
    """

    frequencies: np.ndarray
    power: np.ndarray
    modes: np.ndarray

    @property
    def energy(self) -> float:
        """Sum over all modes: the variance of the array under the window."""
        return float((self.power * self.modes).sum())


@dataclass(frozen=True)
class PeriodicEnergy:
    """The part of an array that repeats every 2, 4, 8 pixels.

    Attributes
    ----------
    periods : tuple of int
    shares : tuple of float
        Per period the share of the energy (without the mean) at multiples of 1/period cycles per pixel that the
        shorter periods do not have: at 1/2, then 1/4, then 1/8 and 3/8.
    amplitudes : tuple of float
        Standard deviation of that pattern, in the array's unit.
    deviation : float
        Standard deviation of the whole array, within each of its maps.
    """

    periods: tuple[int, ...]
    shares: tuple[float, ...]
    amplitudes: tuple[float, ...]
    deviation: float


@dataclass(frozen=True)
class Line:
    """A spectrum to draw.

    Attributes
    ----------
    name : str
    spectrum : Spectrum
    limit : float, optional
        Frequency above which the line is thick.
    unit : float, optional
        Energy that is drawn as 1: the spectrum's own, or that of another spectrum to compare with.
    """

    name: str
    spectrum: Spectrum
    limit: float | None = None
    unit: float | None = None


def radial_spectrum(array: np.ndarray, *, ndim: int | None = None, spacing: Sequence[float] | None = None) -> Spectrum:
    """Measure the energy of an array at each frequency.

    A Hann window fades the array out towards its borders: without it the jump between opposite borders (neighbours in a
    Fourier transform) would appear as fine detail. Frequencies are resolved to 2/n for n pixels.

    Parameters
    ----------
    array : ndarray of shape (..., *spatial)
        Numbers or booleans; the spectra of several maps are averaged.
    ndim : int, optional
        Spatial axes, the last ones; by default all.
    spacing : sequence of float, optional
        Pixels of the image per element, for maps of a coarser level: frequencies are then in cycles per pixel of the
        image. Default: 1 per axis.

    Raises
    ------
    ValueError
        If there are not as many axes or spacings, or a value is not finite.

    Examples
    --------
    >>> x = np.arange(64)
    >>> spectrum = radial_spectrum(np.sin(2 * np.pi * x / 8) + np.zeros((64, 1)))
    >>> round(float(spectrum.frequencies[spectrum.power.argmax()]), 3)
    0.125
    """
    maps = _maps(array, ndim)
    size = maps.shape[1:]
    steps = (1.0,) * len(size) if spacing is None else tuple(spacing)
    if len(steps) != len(size) or min(steps) <= 0:
        raise ValueError(f"spacing is {steps}; expected {len(size)} numbers above 0, one per spatial axis")
    radius = np.sqrt(sum(f**2 for f in _frequencies(size, steps)))
    width = max(1 / max(n * step for n, step in zip(size, steps, strict=True)), radius.max() / _MOST_RINGS)
    ring = np.maximum(np.rint(radius / width).astype(np.intp), 1).ravel()
    counts = np.broadcast_to(_multiplicity(size[-1]), radius.shape).copy()
    counts.flat[0] = 0  # the mean
    modes = np.bincount(ring, counts.ravel())
    energy, sums = (np.bincount(ring, weights.ravel()) for weights in (_energies(maps), counts * radius))
    kept = modes > 0
    return Spectrum(sums[kept] / modes[kept], energy[kept] / modes[kept], modes[kept])


def share_above(array: np.ndarray, limits: float | Sequence[float], *, ndim: int | None = None) -> float:
    """Measure the share of an array's energy above a frequency along any axis.

    With the limit 1/(2 s) of a pooling of stride s it is the part that the coarse grid cannot represent: it is lost, or
    aliased to a false coarse wave. Within 2/n of the limit, for n pixels, a wave counts in part (Hann window).

    Parameters
    ----------
    array : ndarray of shape (..., *spatial)
        Several maps count with their energies.
    limits : float or sequence of float
        Cycles per pixel, for all axes or one per axis; 0.5 and more let all pass.
    ndim : int, optional
        Spatial axes, the last ones; by default all.

    Returns
    -------
    float
        0 to 1, of the energy without the mean; 0 for an array that is the same everywhere.

    Raises
    ------
    ValueError
        If limits or axes do not agree, or a value is not finite.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :96]
    >>> image = 3 * np.sin(2 * np.pi * 0.1 * y) + 4 * np.sin(2 * np.pi * 0.4 * x)  # energies 9/2 and 16/2
    >>> round(share_above(image, 1 / 4), 3)
    0.64
    """
    maps = _maps(array, ndim)
    size = maps.shape[1:]
    rows = (float(limits),) * len(size) if isinstance(limits, int | float) else tuple(limits)
    if len(rows) != len(size) or min(rows) <= 0:
        raise ValueError(f"limits are {rows}; expected {len(size)} numbers above 0, one per spatial axis")
    energies = _energies(maps)
    above = np.zeros(energies.shape, dtype=bool)
    for frequency, limit in zip(_frequencies(size, (1.0,) * len(size)), rows, strict=True):
        above |= np.abs(frequency) > limit + 1e-9
    total = energies.sum()
    return float(energies[above].sum() / total) if total > 0 else 0.0


def periodic_energy(
    array: np.ndarray, *, ndim: int | None = None, periods: Sequence[int] = (2, 4, 8)
) -> PeriodicEnergy:
    """Measure patterns that repeat every few pixels, such as the checkerboards of up-sampling.

    All pixels that are congruent modulo the period (per axis) are averaged: what remains is exactly the array's energy
    at multiples of 1/period, and other periods average out. By chance about period^ndim / N of the energy of an array
    of N pixels remains, so compare the result with that of an image without the pattern.

    Parameters
    ----------
    array : ndarray of shape (..., *spatial)
        Cropped at its end to multiples of the longest period; the energies of several maps are added.
    ndim : int, optional
        Spatial axes, the last ones; by default all.
    periods : sequence of int
        Ascending, each a multiple of the one before.

    Raises
    ------
    ValueError
        If the periods are not such, or an axis is shorter than the longest.

    References
    ----------
    .. [1] Odena, Dumoulin, Olah, Deconvolution and Checkerboard Artifacts, Distill 2016, doi:10.23915/distill.00003
    """
    maps, periods = _maps(array, ndim), tuple(periods)
    if not periods or periods[0] < 2 or any(b % a or b == a for a, b in pairwise(periods)):
        raise ValueError(f"periods are {periods}; expected 2 or more pixels, each a multiple of the one before")
    size, longest = maps.shape[1:], periods[-1]
    if min(size) < longest:
        raise ValueError(f"the array has {size} pixels; a period of {longest} needs at least {longest} per axis")
    maps = maps[(slice(None), *(slice(n - n % longest) for n in size))].astype(np.float64)
    total = _variance(maps)
    energies = [_variance(_mean_over_period(maps, period)) for period in periods]
    new = [max(b - a, 0.0) for a, b in pairwise([0.0, *energies])]
    shares = tuple(e / total if total > 0 else 0.0 for e in new)
    return PeriodicEnergy(periods, shares, tuple(e**0.5 for e in new), total**0.5)


def _maps(array: np.ndarray, ndim: int | None) -> np.ndarray:
    """All maps in a row: (maps, *spatial)."""
    array = np.asarray(array)
    axes = array.ndim if ndim is None else ndim
    if not 1 <= axes <= array.ndim or not array.size:
        raise ValueError(f"the array has the shape {array.shape}; expected pixels, with {max(axes, 1)} axes or more")
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise ValueError(f"{broken} of {array.size} values are not finite: a spectrum needs all of them")
    return array.reshape(-1, *array.shape[array.ndim - axes :])


def _energies(maps: np.ndarray) -> np.ndarray:
    """Energy of each mode of `rfftn` and of the mirrored mode that it omits; mean over maps.

    The sum is the variance under the window (Parseval). A constant map has none.
    """
    size = maps.shape[1:]
    window = reduce(np.multiply.outer, [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in size])
    energies = np.zeros((*size[:-1], size[-1] // 2 + 1))
    for array in maps:
        values = array.astype(np.float64)
        centred = (values - np.average(values, weights=window)) * window
        if (centred**2).sum() > _ROUNDING * ((values * window) ** 2).sum():
            energies += np.abs(np.fft.rfftn(centred)) ** 2
    return energies * _multiplicity(size[-1]) / (len(maps) * prod(size) * (window**2).sum())


def _multiplicity(n: int) -> np.ndarray:
    """Number of modes of the full transform per entry of a real one of `n` pixels, along the last axis."""
    both = np.full(n // 2 + 1, 2.0)
    both[0] = 1
    if n % 2 == 0:
        both[-1] = 1
    return both


def _frequencies(size: Sequence[int], spacing: Sequence[float]) -> list[np.ndarray]:
    """Per axis the frequency of each mode of `rfftn`, as arrays that broadcast."""
    rows = [np.fft.fftfreq(n, step) for n, step in zip(size[:-1], spacing[:-1], strict=True)]
    return list(np.meshgrid(*rows, np.fft.rfftfreq(size[-1], spacing[-1]), indexing="ij", sparse=True))


def _mean_over_period(maps: np.ndarray, period: int) -> np.ndarray:
    """Mean over all pixels congruent modulo the period: (maps, period, ..., period)."""
    pairs = [side for n in maps.shape[1:] for side in (n // period, period)]
    counts = tuple(range(1, 2 * (maps.ndim - 1), 2))
    mean: np.ndarray = maps.reshape(len(maps), *pairs).mean(axis=counts)
    return mean


def _variance(maps: np.ndarray) -> float:
    """Mean over the maps of their variance over space; 0 if it is rounding only."""
    axes = tuple(range(1, maps.ndim))
    variance = float(maps.var(axis=axes).mean())
    return variance if variance > _ROUNDING * float((maps**2).mean()) else 0.0


def draw_spectra(lines: Sequence[Line], *, limits: Sequence[float] = ()) -> Figure:
    """Draw power over frequency, and dashed lines at `limits`."""
    figure, axes = new_figure(height=3.3)
    axis = axes[0, 0]
    drawn = [line for line in lines if line.spectrum.energy > 0 and line.unit != 0]
    shares = [line.spectrum.power / (line.unit or line.spectrum.energy) for line in drawn]
    for line, share, colour in zip(drawn, shares, COLOURS, strict=False):
        x = line.spectrum.frequencies
        is_fine = x > (np.inf if line.limit is None else line.limit)
        axis.plot(x, share, color=colour, linewidth=1.2, label=line.name)
        axis.plot(x[is_fine], share[is_fine], color=colour, linewidth=3.2, solid_capstyle="butt")
    for limit in limits:
        axis.axvline(limit, color=QUIET, linewidth=0.8, linestyle=(0, (3, 3)))
    lowest = min((float(line.spectrum.frequencies[0]) for line in drawn), default=1 / 64)
    low = min(2 * lowest, 1 / 8)  # below it the window does not separate frequencies from the mean
    ticks = [2.0**-k for k in range(1, 12) if 2.0**-k >= low]
    ticks = ticks[:: -(-len(ticks) // 8)]
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"1/{round(1 / tick)}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(low, 0.75)
    axis.set_yscale("log")
    positive = np.concatenate([share[share > 0] for share in shares]) if shares else np.ones(1)
    axis.set_ylim(max(positive.min(), positive.max() * 1e-9) / 2, positive.max() * 3)
    axis.set_xlabel("cycles per pixel of the image")
    axis.set_ylabel("power, share per wave")
    if drawn:
        figure.legend(loc="outside upper left", ncols=4)
    return figure


def draw_periodic_energy(rows: Sequence[tuple[str, PeriodicEnergy]]) -> Figure:
    """Draw the shares of energy at each period, one colour per array; all arrays have the same periods."""
    periods = rows[0][1].periods
    figure, axes = new_figure(height=1.2 + 0.45 * len(periods))
    axis, colours = axes[0, 0], (QUIET, WARM, ACCENT, *COLOURS)
    for (name, energy), colour in zip(rows, colours, strict=False):
        shares = np.maximum(energy.shares, _FLOOR)
        axis.plot(shares, range(len(periods)), "o", color=colour, markersize=8, label=name)
    axis.set_xscale("log")
    axis.set_xlim(_FLOOR / 3, 3)
    ticks = [10.0**-k for k in (6, 4, 2, 0)]
    axis.set_xticks(ticks, ["0.0001 %", "0.01 %", "1 %", "100 %"])
    axis.minorticks_off()
    axis.set_yticks(range(len(periods)), [f"every {period} px" for period in periods])
    axis.set_ylim(len(periods) - 0.5, -0.5)
    axis.set_xlabel("share of the energy")
    figure.legend(loc="outside upper left", ncols=4)
    return figure
