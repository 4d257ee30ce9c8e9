"""Synthetic cells in 2D and 3D, made on the spot: for the demo, the docs and the tests.

A micrograph in layers: stage, cells, what is not a cell, lamp, optics, camera. Brightness alone does not separate the
cells: some are dimmer than the haze around them, out-of-focus neighbours and debris are as bright as they are, and the
lamp falls off towards the edges. A net needs context (what is a cell) and detail (where two of them touch).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from .. import io
from ..image import Image
from ..labels.borders import separate_touching

__all__ = ["synthetic_cells", "write_synthetic_cells"]

RADIUS = (11.0, 19.0)  # of a cell, in pixels
FULL_WELL = 420.0  # photons at gray value 1: the shot noise of a short exposure
READ_NOISE = 2.5  # photons
PSF_SIGMA = 0.9  # pixels


def synthetic_cells(
    size: tuple[int, ...] = (256, 256), *, seed: int, n_cells: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a micrograph of cells, many in touching clusters, and say which pixel belongs to which.

    Parameters
    ----------
    size : tuple of int
        Pixels per axis, 2 or 3 axes: at least 32 in the last two, 16 in z.
    seed : int
        The same seed gives the same picture.
    n_cells : int, optional
        How many to place; by default as many as cover a fifth to a half of the field. Cells may hide behind others.

    Returns
    -------
    image : ndarray of shape (*size), uint8
    instances : ndarray of shape (*size), uint16
        Ids 1 to at most `n_cells`, 0 background. Cells that touch share a border without a gap.

    Raises
    ------
    ValueError
        If `size` has not 2 or 3 axes or is too small, or `n_cells` is negative.
    """
    if len(size) not in (2, 3) or min(size[-2:]) < 32 or min(size) < 16:
        raise ValueError(
            f"size {size} does not fit cells: give 2 axes of at least 32 pixels, or 3 of at least 16, 32, 32"
        )
    if n_cells is not None and n_cells < 0:
        raise ValueError(f"n_cells is {n_cells}: give a number of cells, 0 or more")
    rng = np.random.default_rng(seed)
    count = _usual_count(size, rng) if n_cells is None else n_cells
    instances, depth, contact = _place_cells(size, count, rng)
    scene = 0.06 + _haze(size, rng) + _distractors(size, rng)
    scene = _stain(scene, instances, depth, contact, rng)
    scene = ndimage.gaussian_filter(scene * _lamp(size, rng), PSF_SIGMA)
    return _expose(scene, rng), instances


def write_synthetic_cells(
    folder: str | Path, *, n: int = 24, size: tuple[int, ...] = (256, 256), seed: int = 0
) -> tuple[Path, Path]:
    """Write `n` synthetic images with their masks, ready for training.

    Parameters
    ----------
    folder : str or Path
        Made if missing; gets `images/cells_000.png` and on, and `masks/` with the same names (TIFF for 3D).
    n : int
        Number of images, at least 1.
    size : tuple of int
        Pixels per axis, 2 or 3 axes.
    seed : int
        The same seed writes the same images.

    Returns
    -------
    images, masks : Path
        The two folders. Masks are uint8, 0 background and 255 cell, with touching cells parted by a dark line two
        pixels wide.

    Raises
    ------
    ValueError
        If `n` is below 1, or `size` does not fit `synthetic_cells`.
    """
    if n < 1:
        raise ValueError(f"n is {n}: give at least 1 image")
    images, masks = Path(folder) / "images", Path(folder) / "masks"
    for path in (images, masks):
        path.mkdir(parents=True, exist_ok=True)
    axes, suffix = {2: ("cyx", ".png"), 3: ("czyx", ".tif")}.get(len(size), ("", ""))
    for index in range(n):
        image, instances = synthetic_cells(size, seed=seed * 100_003 + index)
        name = f"cells_{index:03d}{suffix}"
        io.write(images / name, Image(image[None], axes=axes, spacing=(1.0,) * len(size), unit="px"))
        io.write_labels(masks / name, (separate_touching(instances) > 0).astype(np.uint8) * 255)
    return images, masks


def _usual_count(size: tuple[int, ...], rng: np.random.Generator) -> int:
    radius = sum(RADIUS) / 2
    cell = {2: np.pi * radius**2, 3: 4 / 3 * np.pi * radius**3}[len(size)]
    return max(1, round(rng.uniform(0.25, 0.6) * float(np.prod(size)) / cell))


def _smooth_noise(size: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Noise with structure of about `sigma` pixels, mean 0, std 1; coarse noise is made small and enlarged."""
    step = max(1, int(sigma / 2))
    coarse = tuple(side // step + 3 for side in size)
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse).astype(np.float32), sigma / step, mode="wrap")
    if step > 1:
        noise = ndimage.zoom(noise, step, order=1, mode="nearest", grid_mode=True)
    noise = noise[tuple(slice(0, side) for side in size)]
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


# ---- where the cells are


def _centres(size: tuple[int, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Cell centres, about two thirds of them beside an earlier one: clusters with contact. Shape (count, ndim)."""
    bounds = np.array(size, dtype=float)
    centres: list[np.ndarray] = []
    for _ in range(count):
        for _attempt in range(12):
            place = rng.uniform(0, bounds)
            if centres and rng.random() < 0.68:
                direction = rng.standard_normal(len(size))
                step = rng.uniform(1.35, 1.8) * sum(RADIUS) / 2
                place = centres[rng.integers(len(centres))] + step * direction / np.linalg.norm(direction)
            clear = all(np.linalg.norm(place - other) > 1.2 * RADIUS[0] for other in centres)
            if clear and bool(np.all((place >= 0) & (place < bounds))):
                break
        centres.append(np.clip(place, 0, bounds - 1))
    return np.array(centres).reshape(-1, len(size))


def _place_cells(
    size: tuple[int, ...], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, depth in the cell (1 in its middle, 0 at the outline), and nearness to a contact (1 on it), per pixel.

    Each cell is an ellipsoid in a warped space, so outlines are irregular; a pixel goes to the cell it is deepest in,
    so contacts are thin lines between neighbours.
    """
    instances = np.zeros(size, dtype=np.uint16)
    depth, other = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    warps = [3.2 * _smooth_noise(size, 9, rng) for _ in size]
    for cell, centre in enumerate(_centres(size, count, rng), start=1):
        radii = rng.uniform(*RADIUS) * rng.uniform(0.75, 1.25, len(size))
        turn, _ = np.linalg.qr(rng.standard_normal((len(size), len(size))))
        reach = radii.max() + 12
        box = tuple(
            slice(max(0, int(middle - reach)), min(side, int(middle + reach) + 1))
            for middle, side in zip(centre, size, strict=True)
        )
        offsets = [axis - middle for axis, middle in zip(np.ogrid[box], centre, strict=True)]
        offsets = [offset + warp[box] for offset, warp in zip(offsets, warps, strict=True)]
        rotated = [sum(weight * offset for weight, offset in zip(row, offsets, strict=True)) for row in turn]
        own = 1 - np.sqrt(sum((part / radius) ** 2 for part, radius in zip(rotated, radii, strict=True)))
        deeper = own > depth[box]
        other[box] = np.maximum(other[box], np.minimum(own, depth[box]))
        depth[box] = np.where(deeper, own, depth[box])
        instances[box] = np.where(deeper, cell, instances[box])
    contact = np.where(other > 0, np.exp(-(((depth - other) / 0.11) ** 2)), 0)
    return _without_slivers(instances), depth, contact


def _without_slivers(instances: np.ndarray) -> np.ndarray:
    """Ids 1 to n, each in one piece, without cells of which others left less than a sixth of a small one."""
    radius = 0.8 * RADIUS[0]
    least = {2: np.pi * radius**2, 3: 4 / 3 * np.pi * radius**3}[instances.ndim] / 6
    kept = np.zeros_like(instances)
    for cell, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:  # wholly hidden
            continue
        pieces, _ = ndimage.label(instances[box] == cell)
        areas = np.bincount(pieces.ravel())[1:]
        if areas.max() >= least:
            kept[box][pieces == areas.argmax() + 1] = kept.max() + 1
    return kept


# ---- what they look like


def _stain(
    scene: np.ndarray, instances: np.ndarray, depth: np.ndarray, contact: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Lay the cells over the scene: textured cytoplasm thinning out to the outline, a nucleus, a darker contact."""
    count, size = int(instances.max()), instances.shape
    brightness = np.concatenate([[0.0], rng.choice([0.2, 0.32, 0.46], count) * rng.uniform(0.75, 1.25, count)])
    nucleus = np.concatenate([[0.0], rng.uniform(0.1, 0.5, count)])
    texture = 1 + 0.2 * _smooth_noise(size, 1.6, rng) + 0.16 * _smooth_noise(size, 5, rng)
    thickness = (0.4 + 0.6 * np.sqrt(np.clip(depth, 0, 1))) * (1 - 0.6 * contact)
    core = 1 / (1 + np.exp(-(depth + 0.07 * _smooth_noise(size, 4, rng) - 0.62) / 0.035))
    body = brightness[instances] * thickness * np.clip(texture, 0.2, None)
    return scene * np.where(instances > 0, 0.75, 1) + body + nucleus[instances] * core * np.clip(texture, 0.5, None)


def _haze(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return 0.05 * np.exp(0.6 * _smooth_noise(size, 30, rng)) + 0.012 * _smooth_noise(size, 2.5, rng)


def _distractors(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """What is bright and is no cell: blobs far out of focus, and small sharp debris."""
    scene = np.zeros(size, dtype=np.float32)
    pixels = float(np.prod(size))
    blobs = max(1, round(pixels / 12_000 / (1 if len(size) == 2 else 12)))
    for _ in range(blobs):
        _add_spot(scene, rng.uniform(0, size), sigma=rng.uniform(9, 18), peak=rng.uniform(0.12, 0.4))
    for _ in range(max(2, round(pixels / 4_500 / (1 if len(size) == 2 else 12)))):
        _add_spot(scene, rng.uniform(0, size), sigma=rng.uniform(0.8, 2.2), peak=rng.uniform(0.3, 0.9))
    return scene


def _add_spot(scene: np.ndarray, centre: np.ndarray, *, sigma: float, peak: float) -> None:
    reach = 3.5 * sigma
    box = tuple(
        slice(max(0, int(middle - reach)), min(side, int(middle + reach) + 1))
        for middle, side in zip(centre, scene.shape, strict=True)
    )
    squares = sum((axis - middle) ** 2 for axis, middle in zip(np.ogrid[box], centre, strict=True))
    scene[box] += peak * np.exp(-squares / (2 * sigma**2))


def _lamp(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uneven illumination: a bright spot somewhere, falling to about half in the far corner."""
    middle = rng.uniform(0.2, 0.8, len(size))
    axes = np.ogrid[tuple(slice(0, side) for side in size)]
    squares = sum(((axis / side - spot) * 0.95) ** 2 for axis, side, spot in zip(axes, size, middle, strict=True))
    return (1.15 * np.exp(-squares)).astype(np.float32)


def _expose(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    photons = rng.poisson(np.clip(scene, 0, None) * FULL_WELL) + READ_NOISE * rng.standard_normal(scene.shape)
    return np.clip(photons / FULL_WELL * 255 + 4, 0, 255).round().astype(np.uint8)
