"""Random flips, rotations, scalings, elastic deformations and gray-value changes of a whole batch at once.

All samples of a batch, in 2D and 3D, go through the same few tensor operations: one sampling grid per batch, one
`grid_sample` for images (border weights ride along as further channels) and one, by nearest neighbour, for labels.
The displacement field is the one of the U-Net paper [1]_, section 3.1: Gaussian vectors on a coarse 3 x 3 grid,
interpolated by cubic convolution. This file holds the settings and every draw; the arithmetic is in `spatial` and
`intensity`.

References
----------
.. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from . import intensity, spatial
from .intensity import per_sample
from .spatial import PLANES

# Axes coarser than this many times the finest one are only flipped: interpolating between thick sections invents
# structure (the same limit at which nnU-Net treats volumes plane by plane).
ANISOTROPY = 3.0
# A window never exceeds this factor of the patch; the little that falls outside is mirrored.
WINDOW_FACTOR = 1.5
# Vectors longer than this many sigmas are clamped, and sigma is at most a tenth of the distance between grid points:
# the steepest 1-D slope of cubic convolution, 3 x (largest vector) / distance, then stays at 0.9, so nothing folds.
CLAMP_SIGMAS = 3.0
SIGMA_PER_GRID_DISTANCE = 0.1
LABEL_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Probabilities:
    """Probability of each kind of change per sample, 0 to 1; flips and quarter turns are always uniform."""

    rotation: float = 0.7
    scale: float = 0.5
    elastic: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    gamma: float = 0.3
    noise: float = 0.2
    blur: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"probability of {name} is {value}: give a number from 0 to 1")


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes of a patch; gray values are those of a zero-mean, unit-std image.

    Parameters
    ----------
    flip : bool or tuple of bool
        Mirror each axis in half of the samples; a tuple says so per axis.
    quarter_turns : bool
        Rotate the last two axes by a random multiple of 90 degrees, exactly; needs patches square in that plane.
    rotation_deg : float or tuple of float
        Largest angle in degrees. A number rotates within the last two axes (in 3D: about z). A tuple of three, for
        volumes, gives the largest angle about z, y and x.
    scale : tuple of float
        Smallest and largest magnification, drawn log-uniformly: 1.25 shows objects a quarter larger.
    elastic_sigma_px : float
        Std of the displacement vectors in pixels of the finest axis (paper: 10), at most a tenth of the distance
        between grid points, so that small patches bend instead of folding: 3.15 px for 64 px and 3 points.
    elastic_points : int
        Grid points per axis of a patch, corners included. 3 is the paper's; on 256 px it puts them 128 px apart, where
        10 px bend a cell without tearing it. More points are a finer and, by the cap above, weaker deformation.
    brightness : float
        Largest shift, in image stds, either way, per channel.
    contrast, gamma : tuple of float
        Range of the factor about the mean, and of the exponent on the image rescaled to its own 0..1, per channel.
    noise_std : float
        Largest std of additive Gaussian noise, in image stds.
    blur_sigma_px : float
        Largest sigma of a Gaussian blur, in pixels.
    spacing : tuple of float, optional
        Pixel size per axis in any unit: rotations and vectors are made in that space, and axes more than
        three times coarser than the finest are only flipped. None is isotropic.
    probability : Probabilities

    Raises
    ------
    ValueError
        If a range is empty or a number has the wrong sign.
    """

    flip: bool | tuple[bool, ...] = True
    quarter_turns: bool = False
    rotation_deg: float | tuple[float, ...] = 180.0
    scale: tuple[float, float] = (0.8, 1.25)
    elastic_sigma_px: float = 10.0
    elastic_points: int = 3
    brightness: float = 0.2
    contrast: tuple[float, float] = (0.75, 1.25)
    gamma: tuple[float, float] = (0.7, 1.5)
    noise_std: float = 0.15
    blur_sigma_px: float = 1.0
    spacing: tuple[float, ...] | None = None
    probability: Probabilities = field(default_factory=Probabilities)

    def __post_init__(self) -> None:
        for name in ("scale", "contrast", "gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is ({low}, {high}): give 0 < lowest <= highest, such as (0.8, 1.25)")
        for name in ("elastic_sigma_px", "brightness", "noise_std", "blur_sigma_px"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 to switch it off, or a positive number")
        if self.elastic_points < 2:
            raise ValueError(f"elastic_points is {self.elastic_points}: a grid needs at least 2 points per axis")
        if self.spacing is not None and min(self.spacing) <= 0:
            raise ValueError(f"spacing is {self.spacing}: every entry must be above 0")

    @classmethod
    def none(cls) -> "Augmentation":
        """An augmentation that changes nothing: `augment` is then a centre crop."""
        return cls(
            flip=False,
            rotation_deg=0.0,
            scale=(1.0, 1.0),
            elastic_sigma_px=0.0,
            brightness=0.0,
            contrast=(1.0, 1.0),
            gamma=(1.0, 1.0),
            noise_std=0.0,
            blur_sigma_px=0.0,
        )


def window_size(size: tuple[int, ...], settings: Augmentation) -> tuple[int, ...]:
    """Window to read so that a patch of `size`, rotated, shrunk and bent, has its context inside.

    The bounding box of the patch under the largest rotation and the smallest magnification, plus two sigmas of the
    elastic field on each side, at most 1.5 times the patch: rarer reaches are mirrored by `augment`.

    Parameters
    ----------
    size : tuple of int
        Patch size in pixels per axis.
    settings : Augmentation

    Returns
    -------
    tuple of int
        Window size in pixels per axis, never below `size`; the difference is even, so that the centres agree.

    Examples
    --------
    >>> window_size((256, 256), Augmentation())
    (384, 384)
    >>> window_size((256, 256), Augmentation.none())
    (256, 256)
    """
    pitch, moves = _pitch(size, settings)
    extent = [side * step for side, step in zip(size, pitch, strict=True)]
    for (i, j), limit in zip(PLANES[len(size)], _angles(size, settings), strict=True):
        turns = torch.linspace(0, math.radians(min(limit, 90)), 91)
        cos, sin = turns.cos(), turns.sin()
        extent[i], extent[j] = (
            float((cos * extent[i] + sin * extent[j]).max()),
            float((sin * extent[i] + cos * extent[j]).max()),
        )
    reach = 4 * _elastic_sigma(size, settings)
    window = []
    for side, length, step, moving in zip(size, extent, pitch, moves, strict=True):
        need = math.ceil((length / settings.scale[0] + reach) / step) if moving else side
        need = max(side, min(need, math.ceil(WINDOW_FACTOR * side)))
        window.append(need + (need - side) % 2)
    return tuple(window)


def augment(
    images: Tensor,
    labels: Tensor,
    size: tuple[int, ...],
    *,
    settings: Augmentation,
    generator: Generator,
    extra: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cut patches of `size` from the middle of the windows, each warped, flipped and changed in intensity at random.

    Parameters
    ----------
    images : Tensor of shape (N, C, *window), float32
        Normalised to about zero mean and unit std. Sampled linearly.
    labels : Tensor of shape (N, *window), integer
        Sampled by nearest neighbour with the same grid: no new value ever appears.
    size : tuple of int
        Patch size in pixels per axis, at most the window; `window_size` gives the window that fits.
    settings : Augmentation
    generator : torch.Generator
        On the CPU, whatever the device of the images: the same seed gives the same batch.
    extra : Tensor of shape (N, E, *window), float32, optional
        Maps that go with the images, such as border weights; moved with them, their values left alone.

    Returns
    -------
    images : Tensor of shape (N, C, *size), float32
    labels : Tensor of shape (N, *size), dtype as given
    extra : Tensor of shape (N, E, *size), float32, or None

    Raises
    ------
    ValueError
        If shapes do not belong together, the window is smaller than `size`, or a per-axis setting has another length.
    TypeError
        If `images` or `extra` is not float32, or `labels` not a signed integer or uint8.
    """
    _check(images, labels, size, settings, extra)
    symmetry = _symmetry(len(images), settings, generator, len(size))
    grid = _grid(images, size, settings, generator)
    maps = images if extra is None else torch.cat((images, extra), dim=1)
    maps = symmetry(spatial.centre_crop(maps, size) if grid is None else spatial.sample_linear(maps, grid))
    labels = symmetry(spatial.centre_crop(labels, size) if grid is None else spatial.sample_nearest(labels, grid))
    images, rest = maps[:, : images.shape[1]], maps[:, images.shape[1] :]
    images = _change_intensity(images, settings, generator)
    return images.contiguous(), labels.contiguous(), None if extra is None else rest.contiguous()


def _check(images: Tensor, labels: Tensor, size: tuple[int, ...], settings: Augmentation, extra: Tensor | None) -> None:
    """Refuse batches whose parts do not belong together."""
    window, ndim = tuple(images.shape[2:]), len(size)
    if ndim not in PLANES or len(window) != ndim:
        raise ValueError(f"images of shape {tuple(images.shape)} and size {size}: give (N, C, *window) and 2 or 3 axes")
    if any(side > have for side, have in zip(size, window, strict=True)):
        raise ValueError(f"window {window} is smaller than the patch {size}: read windows of window_size(size, ...)")
    for name, covered, wanted in (
        ("labels", labels.shape, (len(images), *window)),
        ("extra", (extra.shape[:1] + extra.shape[2:]) if extra is not None else None, (len(images), *window)),
    ):
        if covered is not None and tuple(covered) != wanted:
            raise ValueError(f"{name} cover {tuple(covered)} but images cover {wanted} (samples and window)")
    if any(maps is not None and maps.dtype != torch.float32 for maps in (images, extra)):
        dtypes = ", ".join(str(maps.dtype) for maps in (images, extra) if maps is not None)
        raise TypeError(f"images and extra must be float32, got {dtypes}")
    if labels.dtype not in LABEL_DTYPES:
        raise TypeError(f"labels are {labels.dtype}: give uint8 or a signed integer")
    for name, length in (("flip", ndim), ("spacing", ndim), ("rotation_deg", len(PLANES[ndim]))):
        value = getattr(settings, name)
        if isinstance(value, tuple) and len(value) != length:
            raise ValueError(f"{name} has {len(value)} entries but {ndim}D patches need {length}")
    if settings.quarter_turns and size[-1] != size[-2]:
        raise ValueError(f"quarter_turns needs patches square in the last two axes, got size {size}")


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _chance(probability: float, n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability


# ---- geometry: flips and quarter turns move pixels, everything else is one sampling grid


def _symmetry(n: int, settings: Augmentation, generator: Generator, ndim: int) -> Callable[[Tensor], Tensor]:
    """Draw flips and quarter turns once; the function returned applies them, exactly, to any map of the batch."""
    flips = torch.rand(n, ndim, generator=generator) < 0.5
    allowed = settings.flip if isinstance(settings.flip, tuple) else (settings.flip,) * ndim
    turns = torch.randint(0, 4, (n,), generator=generator)

    def apply(maps: Tensor) -> Tensor:
        for axis in (axis for axis in range(ndim) if allowed[axis]):
            maps = torch.where(per_sample(flips[:, axis], maps), maps.flip(axis - ndim), maps)
        for quarters in (1, 2) if settings.quarter_turns else ():
            chosen = per_sample((turns & quarters) > 0, maps)  # 3 quarters are 1 and then 2
            maps = torch.where(chosen, torch.rot90(maps, quarters, (-2, -1)), maps)
        return maps

    return apply


def _pitch(size: tuple[int, ...], settings: Augmentation) -> tuple[list[float], list[bool]]:
    """Pixel size per axis relative to the finest, and whether the axis takes part in interpolation."""
    spacing = settings.spacing or (1.0,) * len(size)
    pitch = [step / min(spacing) for step in spacing]
    return pitch, [step <= ANISOTROPY and side > 1 for step, side in zip(pitch, size, strict=True)]


def _angles(size: tuple[int, ...], settings: Augmentation) -> list[float]:
    """Largest angle in degrees per plane of `PLANES`; 0 where the plane holds an axis that must not move."""
    planes, degrees = PLANES[len(size)], settings.rotation_deg
    limits = degrees if isinstance(degrees, tuple) else (degrees,) + (0.0,) * (len(planes) - 1)
    _, moves = _pitch(size, settings)
    return [abs(limit) if moves[i] and moves[j] else 0.0 for limit, (i, j) in zip(limits, planes, strict=True)]


def _elastic_sigma(size: tuple[int, ...], settings: Augmentation) -> float:
    """Std of the displacements in pixels of the finest axis, capped so that the field does not fold."""
    pitch, moves = _pitch(size, settings)
    sides = [(side - 1) * step for side, step, moving in zip(size, pitch, moves, strict=True) if moving]
    distance = min(sides, default=0.0) / (settings.elastic_points - 1)
    return min(settings.elastic_sigma_px, SIGMA_PER_GRID_DISTANCE * distance)


def _grid(images: Tensor, size: tuple[int, ...], settings: Augmentation, generator: Generator) -> Tensor | None:
    """The sampling grid, shape (N, *size, ndim), or None when no sample needs interpolation."""
    matrix = _matrix(len(images), size, settings, generator)
    shift = _displacement(len(images), size, settings, generator)
    if shift is None and bool((matrix == torch.eye(len(size))).all()):
        return None
    shift = None if shift is None else shift.to(images.device)
    return spatial.sampling_grid(matrix.to(images.device), shift, size=size, window=tuple(images.shape[2:]))


def _matrix(n: int, size: tuple[int, ...], settings: Augmentation, generator: Generator) -> Tensor:
    """Rotation and scaling from patch to window, in pixels, shape (N, ndim, ndim)."""
    pitch, moves = _pitch(size, settings)
    limits = torch.deg2rad(torch.tensor(_angles(size, settings)))
    angles = limits * _uniform(-1, 1, (n, len(limits)), generator)
    matrix = spatial.rotations(angles * _chance(settings.probability.rotation, n, generator)[:, None], pitch)
    low, high = (math.log(value) for value in settings.scale)
    zoom = torch.exp(_uniform(low, high, (n,), generator) * _chance(settings.probability.scale, n, generator))
    return torch.where(torch.tensor(moves)[:, None], matrix / zoom[:, None, None], matrix)


def _displacement(n: int, size: tuple[int, ...], settings: Augmentation, generator: Generator) -> Tensor | None:
    """The elastic field in window pixels, shape (N, ndim, *size), or None when no sample has one."""
    ndim, points = len(size), settings.elastic_points
    pitch, moves = _pitch(size, settings)
    sigma = torch.tensor([_elastic_sigma(size, settings) / step for step in pitch]) * torch.tensor(moves)
    chosen = _chance(settings.probability.elastic, n, generator)
    vectors = torch.randn(n, ndim, *[points] * ndim, generator=generator).clamp(-CLAMP_SIGMAS, CLAMP_SIGMAS)
    if not (bool(chosen.any()) and bool(sigma.any())):
        return None
    return spatial.smooth_field(vectors * per_sample(chosen[:, None] * sigma, vectors), size)


# ---- gray values


def _change_intensity(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Contrast, brightness, gamma, then what the optics and the sensor add: blur and noise."""
    (n, channels), chances = images.shape[:2], settings.probability

    chosen = _chance(chances.contrast, n, generator)[:, None]
    factors = torch.where(chosen, _uniform(*settings.contrast, (n, channels), generator), 1.0)
    chosen = _chance(chances.brightness, n, generator)[:, None]
    shifts = chosen * _uniform(-settings.brightness, settings.brightness, (n, channels), generator)
    if bool((factors != 1).any()) or bool((shifts != 0).any()):
        images = intensity.stretch(images, factors, shifts)

    chosen = _chance(chances.gamma, n, generator)
    exponents = _uniform(*settings.gamma, (n, channels), generator)
    if settings.gamma != (1, 1):
        images = _change(images, chosen, lambda some: intensity.gamma(some, exponents[chosen]))

    chosen = _chance(chances.blur, n, generator)
    sigmas = _uniform(0, settings.blur_sigma_px, (n,), generator)
    if settings.blur_sigma_px > 0:
        _, moves = _pitch(tuple(images.shape[2:]), settings)
        images = _change(images, chosen, lambda some: intensity.blur(some, sigmas[chosen], axes=moves))

    chosen = _chance(chances.noise, n, generator)
    stds = _uniform(0, settings.noise_std, (n,), generator)
    if settings.noise_std > 0:
        images = _change(images, chosen, lambda some: intensity.noise(some, stds[chosen], generator=generator))
    return images


def _change(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `change` to the chosen samples only: the others keep their bits, and cost nothing."""
    rows = chosen.nonzero()[:, 0].to(images.device)
    return images.index_copy(0, rows, change(images[rows])) if len(rows) else images
