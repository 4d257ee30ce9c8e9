"""Augmentation: identity, exact symmetries, images and labels moved alike, fold-free elastic fields, seeds."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy import ndimage

from unetkit.training.augment.augment import Augmentation, Probabilities, augment, window_size

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NONE = Augmentation.none()
ALWAYS = Probabilities(rotation=1, scale=1, elastic=1, brightness=1, contrast=1, gamma=1, noise=1, blur=1)
SIZES = {2: (20, 24), 3: (8, 12, 10)}
WINDOWS = {2: (32, 33), 3: (12, 17, 16)}


def only(**changes):
    """Settings where only the given kinds act, and always."""
    return Augmentation(**{**vars(NONE), "probability": ALWAYS, **changes})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(window, *, n=3, channels=2, seed=0):
    generator = seeded(seed)
    images = torch.randn(n, channels, *window, generator=generator)
    labels = torch.randint(0, 4, (n, *window), generator=generator, dtype=torch.uint8)
    return images, labels


def centre(maps, size):
    window = maps.shape[-len(size) :]
    return maps[(..., *(slice((w - s) // 2, (w - s) // 2 + s) for w, s in zip(window, size, strict=True)))]


@pytest.mark.parametrize("ndim", [2, 3])
def test_none_is_a_bit_equal_centre_crop(ndim):
    images, labels = batch(WINDOWS[ndim])
    extra = torch.rand(3, 1, *WINDOWS[ndim])
    got = augment(images, labels, SIZES[ndim], settings=NONE, generator=seeded(), extra=extra)
    for found, given in zip(got, (images, labels, extra), strict=True):
        assert torch.equal(found, centre(given, SIZES[ndim]))
        assert found.is_contiguous()


@pytest.mark.parametrize("ndim", [2, 3])
def test_zero_probabilities_are_a_centre_crop_too(ndim):
    images, labels = batch(WINDOWS[ndim])
    settings = Augmentation(flip=False, probability=Probabilities(*[0.0] * 8))
    found, moved, extra = augment(images, labels, SIZES[ndim], settings=settings, generator=seeded())
    assert torch.equal(found, centre(images, SIZES[ndim]))
    assert torch.equal(moved, centre(labels, SIZES[ndim]))
    assert extra is None


@pytest.mark.parametrize("ndim", [2, 3])
def test_flips_are_exact_and_every_combination_occurs(ndim):
    size = SIZES[ndim]
    images, labels = batch(size, n=64, channels=1)
    found, moved, _ = augment(images, labels, size, settings=only(flip=True), generator=seeded())
    seen = set()
    for i in range(64):
        fits = [
            axes
            for code in range(2**ndim)
            if torch.equal(labels[i].flip(axes := [a for a in range(ndim) if code >> a & 1]), moved[i])
        ]
        assert len(fits) == 1
        assert torch.equal(images[i, 0].flip(fits[0]), found[i, 0])
        seen.add(tuple(fits[0]))
    assert len(seen) == 2**ndim


@pytest.mark.parametrize("ndim", [2, 3])
def test_flip_per_axis(ndim):
    size = SIZES[ndim]
    images, labels = batch(size, n=16)
    settings = only(flip=(False,) * (ndim - 1) + (True,))
    found, *_ = augment(images, labels, size, settings=settings, generator=seeded())
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(found, images, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert any(flipped)
    assert any(same)


@pytest.mark.parametrize("size", [(16, 16), (6, 16, 16)])
def test_quarter_turns_are_exact(size):
    images, labels = batch(size, n=32, channels=1)
    found, moved, _ = augment(images, labels, size, settings=only(quarter_turns=True), generator=seeded())
    seen = set()
    for i in range(32):
        (k,) = (k for k in range(4) if torch.equal(torch.rot90(labels[i], k, (-2, -1)), moved[i]))
        assert torch.equal(torch.rot90(images[i, 0], k, (-2, -1)), found[i, 0])
        seen.add(k)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(("ndim", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_image_labels_and_extra_move_alike(ndim, axis):
    """Images and labels that hold their own coordinate come back within half a pixel of each other, everywhere."""
    size, window = {2: (48, 48), 3: (16, 24, 24)}[ndim], {2: (60, 70), 3: (20, 30, 36)}[ndim]
    settings = Augmentation(
        quarter_turns=True, brightness=0, contrast=(1, 1), gamma=(1, 1), noise_std=0, blur_sigma_px=0,
        rotation_deg=180.0 if ndim == 2 else (180.0, 30.0, 30.0), probability=ALWAYS,
    )  # fmt: skip
    ramp = torch.arange(window[axis]).reshape([-1 if a == axis else 1 for a in range(ndim)]).expand(3, *window)
    maps = ramp[:, None].float().contiguous()
    found, moved, extra = augment(maps, ramp, size, settings=settings, generator=seeded(1), extra=maps * 2)
    assert torch.equal(extra, found * 2)
    assert (found[:, 0] - moved).abs().max() < 0.501
    assert found.std() > 3
    assert not torch.equal(moved, centre(ramp, size))


def test_rotation_agrees_with_scipy():
    """A second road: the angle is recovered from the matrix, the picture is turned by scipy."""
    window, size = (41, 41), (21, 21)
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(window), 2).astype(np.float32)
    maps = torch.from_numpy(image)[None, None]
    labels = torch.zeros(1, *window, dtype=torch.uint8)
    found, *_ = augment(maps, labels, size, settings=only(rotation_deg=180.0), generator=seeded(3))

    def turned(angle):
        return ndimage.rotate(image, angle, reshape=False, order=1)[10:31, 10:31]

    angles = np.arange(-180, 180, 3.0)
    errors = [np.abs(turned(angle) - found[0, 0].numpy()).mean() for angle in angles]
    best = angles[int(np.argmin(errors))]
    fine = min(np.abs(turned(angle) - found[0, 0].numpy()).max() for angle in np.linspace(best - 3, best + 3, 301))
    assert fine < 0.01 * np.abs(image).max()
    assert min(errors) < 0.2 * max(errors)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_about_one_axis_keeps_what_depends_on_that_axis(axis):
    size = (12, 12, 12)
    ramp = torch.arange(12.0).reshape([-1 if a == axis else 1 for a in range(3)]).expand(2, 1, *size).contiguous()
    settings = only(rotation_deg=tuple(90.0 if a == axis else 0.0 for a in range(3)))
    labels = torch.zeros(2, *size, dtype=torch.uint8)
    found, *_ = augment(ramp, labels, size, settings=settings, generator=seeded())
    torch.testing.assert_close(found, ramp, atol=1e-4, rtol=0)


def test_thick_sections_are_never_interpolated_across():
    """Planes 11 times thicker than wide keep their own values: each output plane shows one input plane."""
    size, window = (4, 16, 16), (4, 24, 24)
    planes = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(2, 1, *window).contiguous()
    labels = planes[:, 0].to(torch.uint8)
    settings = Augmentation(
        spacing=(50.0, 4.6, 4.6), flip=False, rotation_deg=(180.0, 180.0, 180.0), probability=ALWAYS,
        brightness=0, contrast=(1, 1), gamma=(1, 1), noise_std=0,
    )  # fmt: skip
    assert window_size(size, settings) == window
    found, moved, _ = augment(planes, labels, size, settings=settings, generator=seeded())
    torch.testing.assert_close(found, planes[..., :16, :16], atol=1e-5, rtol=0)
    assert torch.equal(moved, labels[..., :16, :16])


@pytest.mark.parametrize("ndim", [2, 3])
def test_magnification_shows_objects_larger(ndim):
    size = {2: (33, 33), 3: (17, 17, 17)}[ndim]
    window = tuple(2 * side - 1 for side in size)
    grid = torch.stack(torch.meshgrid(*[torch.arange(side) - side // 2 for side in window], indexing="ij"))
    labels = ((grid**2).sum(0) <= 36).to(torch.uint8)[None]
    volume = int(labels.sum())
    _, larger, _ = augment(labels[:, None].float(), labels, size, settings=only(scale=(1.25, 1.25)), generator=seeded())
    assert math.isclose(int(larger.sum()) / volume, 1.25**ndim, rel_tol=0.1)


@pytest.mark.parametrize(("size", "spacing"), [((64, 64), None), ((40, 90), None), ((16, 24, 24), (2.0, 1.0, 1.0))])
def test_elastic_fields_never_fold(size, spacing):
    """Images of the coordinates show where every pixel comes from: the Jacobian stays positive."""
    settings = only(elastic_sigma_px=50.0, spacing=spacing)
    window = tuple(2 * side for side in size)
    coordinates = torch.stack(torch.meshgrid(*[torch.arange(float(side)) for side in window], indexing="ij"))
    n = 12
    maps = coordinates.expand(n, *coordinates.shape).contiguous()
    labels = torch.zeros(n, *window, dtype=torch.uint8)
    found, *_ = augment(maps, labels, size, settings=settings, generator=seeded())
    jacobian = torch.stack(torch.gradient(found, dim=list(range(2, found.ndim))), dim=2)  # (N, ndim, ndim, *size)
    determinant = torch.linalg.det(jacobian.movedim((1, 2), (-2, -1)))
    assert determinant.min() > 0
    assert determinant.std() > 0.1


def test_elastic_vectors_have_the_papers_std():
    size, window = (256, 256), (360, 360)
    columns = torch.arange(360.0).expand(40, 1, 360, 360).contiguous()
    labels = torch.zeros(40, *window, dtype=torch.uint8)
    found, *_ = augment(columns, labels, size, settings=only(elastic_sigma_px=10.0), generator=seeded())
    corners = found[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] - torch.tensor([52.0, 307.0, 52.0, 307.0])
    assert 8.5 < float(corners.std()) < 11.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("ndim", [2, 3])
def test_no_new_label_value_appears(ndim, dtype):
    top = min(torch.iinfo(dtype).max, 2**40 + 1)  # beyond float32's integers
    values = torch.tensor([0, 7, top - 2, top], dtype=dtype)
    index = torch.randint(0, 4, (2, *WINDOWS[ndim]), generator=seeded())
    images = torch.zeros(2, 1, *WINDOWS[ndim])
    _, moved, _ = augment(
        images, values[index], SIZES[ndim], settings=Augmentation(probability=ALWAYS), generator=seeded()
    )
    assert moved.dtype == dtype
    assert set(moved.unique().tolist()) == set(values.tolist())


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_seed_is_a_batch(ndim):
    images, labels = batch(WINDOWS[ndim])
    results = [
        augment(images, labels, SIZES[ndim], settings=Augmentation(), generator=seeded(seed)) for seed in (5, 5, 6)
    ]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_the_callers_tensors_are_not_touched():
    images, labels = batch((24, 24))
    before = images.clone(), labels.clone()
    augment(images, labels, (24, 24), settings=Augmentation(probability=ALWAYS), generator=seeded())
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize("ndim", [2, 3])
def test_constant_and_tiny_images_give_no_nan(ndim):
    images = torch.full((2, 3, *WINDOWS[ndim]), 1e-30)
    images[1] = -4.0
    labels = torch.zeros(2, *WINDOWS[ndim], dtype=torch.uint8)
    settings = Augmentation(probability=ALWAYS, noise_std=0.0, brightness=0.0)
    found, *_ = augment(images, labels, SIZES[ndim], settings=settings, generator=seeded())
    torch.testing.assert_close(found, centre(images, SIZES[ndim]), atol=1e-5, rtol=1e-5)


def test_gray_values_change_images_only():
    images, labels = batch((24, 24))
    settings = Augmentation(flip=False, rotation_deg=0.0, scale=(1, 1), elastic_sigma_px=0, probability=ALWAYS)
    extra = torch.rand(3, 1, 24, 24)
    found, moved, rest = augment(images, labels, (24, 24), settings=settings, generator=seeded(), extra=extra)
    assert torch.equal(moved, labels)
    assert torch.equal(rest, extra)
    assert bool((found != images).float().mean() > 0.9)


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((256, 256), NONE, (256, 256)),
        ((256, 256), Augmentation(flip=True), (384, 384)),  # capped at 1.5
        ((100, 100), only(scale=(0.8, 1.25)), (126, 126)),  # 100 / 0.8 = 125, made even
        ((100, 100), only(rotation_deg=180.0), (142, 142)),  # 100 sqrt(2)
        ((100, 60), only(rotation_deg=180.0), (118, 90)),  # diagonal 116.6; capped at 1.5
        ((100, 100), only(rotation_deg=10.0), (116, 116)),  # 100 (cos 10 + sin 10) = 115.8
        ((200, 200), only(elastic_sigma_px=5.0), (220, 220)),
        ((32, 64, 64), only(rotation_deg=180.0), (32, 92, 92)),
    ],
)
def test_window_size(size, settings, expected):
    assert window_size(size, settings) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (1.2, 0.8)}, r"scale is \(1.2, 0.8\)"),
        ({"gamma": (0, 1)}, r"gamma is \(0, 1\)"),
        ({"noise_std": -0.1}, "noise_std is -0.1"),
        ({"elastic_points": 1}, "elastic_points is 1"),
        ({"spacing": (1.0, 0.0)}, r"spacing is \(1.0, 0.0\)"),
    ],
)
def test_settings_refuse_wrong_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)


def test_probabilities_refuse_wrong_numbers():
    with pytest.raises(ValueError, match=r"probability of noise is 1.5"):
        Probabilities(noise=1.5)


def test_batches_that_do_not_fit_are_refused():
    images, labels = batch((24, 24))

    def run(*, images=images, labels=labels, size=(16, 16), settings=NONE, extra=None):
        return augment(images, labels, size, settings=settings, generator=seeded(), extra=extra)

    with pytest.raises(ValueError, match=r"images of shape \(3, 2, 24, 24\) and size \(8, 8, 8\)"):
        run(size=(8, 8, 8))
    with pytest.raises(ValueError, match=r"window \(24, 24\) is smaller than the patch \(16, 32\)"):
        run(size=(16, 32))
    with pytest.raises(ValueError, match=r"labels cover \(3, 20, 24\) but images cover \(3, 24, 24\)"):
        run(labels=labels[:, :20])
    with pytest.raises(ValueError, match=r"extra cover \(2, 24, 24\)"):
        run(extra=torch.rand(2, 1, 24, 24))
    with pytest.raises(TypeError, match=r"float32, got torch.float64"):
        run(images=images.double())
    with pytest.raises(TypeError, match=r"labels are torch.float32"):
        run(labels=labels.float())
    with pytest.raises(ValueError, match=r"flip has 3 entries but 2D patches need 2"):
        run(settings=Augmentation(flip=(True, True, False)))
    with pytest.raises(ValueError, match=r"rotation_deg has 3 entries but 2D patches need 1"):
        run(settings=Augmentation(rotation_deg=(1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match=r"quarter_turns .* got size \(16, 20\)"):
        run(size=(16, 20), settings=Augmentation(quarter_turns=True))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
def test_cells_of_real_micrographs_keep_their_share():
    """Class shares survive augmentation on average, and membranes stay darker than cells."""
    folder = DATA / "isbi2012"
    names = sorted(path.name for path in (folder / "images").iterdir())[:4]
    images = np.stack([np.asarray(Picture.open(folder / "images" / name), np.float32) for name in names])[:, None]
    labels = np.stack([np.asarray(Picture.open(folder / "masks" / name)) > 0 for name in names]).astype(np.uint8)
    images = torch.from_numpy((images - images.mean()) / images.std())
    labels = torch.from_numpy(labels)
    found, moved, _ = augment(
        images[..., :384, :384], labels[..., :384, :384], (256, 256), settings=Augmentation(), generator=seeded()
    )
    assert abs(float(moved.float().mean()) - float(labels.float().mean())) < 0.06
    assert float(found[:, 0][moved == 1].mean() - found[:, 0][moved == 0].mean()) > 0.5
    assert bool(torch.isfinite(found).all())
