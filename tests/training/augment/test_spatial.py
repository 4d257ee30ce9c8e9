"""Warping: rigid rotations, cubic fields equal to torch's, a grid that is the identity where it should be."""

import math

import pytest
import torch
import torch.nn.functional as F

from unetkit.training.augment import spatial


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rotation_is_rigid_in_space_when_pixels_are_not_square():
    pitch = [2.5, 1.0]
    turn = spatial.rotations(torch.tensor([[0.7]]), pitch)[0]
    scale = torch.diag(torch.tensor(pitch))
    rigid = scale @ turn @ torch.linalg.inv(scale)
    torch.testing.assert_close(rigid @ rigid.T, torch.eye(2))
    assert math.isclose(float(rigid[1, 0]), math.sin(0.7), rel_tol=1e-6)


def test_smooth_field_is_torchs_bicubic():
    vectors = torch.randn(2, 2, 3, 4, generator=seeded())
    expected = F.interpolate(vectors, size=(31, 50), mode="bicubic", align_corners=True)
    torch.testing.assert_close(spatial.smooth_field(vectors, (31, 50)), expected, atol=1e-5, rtol=1e-5)


def test_smooth_field_passes_through_its_vectors_in_3d():
    vectors = torch.randn(2, 3, 3, 3, 3, generator=seeded())
    field = spatial.smooth_field(vectors, (9, 11, 13))
    torch.testing.assert_close(field[:, :, ::4, ::5, ::6], vectors, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "window"), [((5, 8), (9, 11)), ((3, 6, 5), (3, 9, 8))])
def test_identity_grid_is_the_centre_crop(size, window):
    maps = torch.randn(2, 3, *window, generator=seeded())
    labels = torch.randint(0, 9, (2, *window), generator=seeded())
    grid = spatial.sampling_grid(torch.eye(len(size)).repeat(2, 1, 1), None, size=size, window=window)
    torch.testing.assert_close(spatial.sample_linear(maps, grid), spatial.centre_crop(maps, size), atol=1e-5, rtol=1e-5)
    assert torch.equal(spatial.sample_nearest(labels, grid), spatial.centre_crop(labels, size))


def test_beyond_the_window_is_its_mirror():
    """A shift of 3 px out of the window reads what torch's reflection padding puts there."""
    maps = torch.randn(1, 1, 8, 9, generator=seeded())
    shift = torch.zeros(1, 2, 8, 9)
    shift[:, 1] = 3
    grid = spatial.sampling_grid(torch.eye(2)[None], shift, size=(8, 9), window=(8, 9))
    expected = F.pad(maps, (0, 3, 0, 0), mode="reflect")[..., 3:]
    torch.testing.assert_close(spatial.sample_linear(maps, grid), expected, atol=1e-5, rtol=1e-5)
