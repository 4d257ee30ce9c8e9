"""Gray values: each function against statistics or scipy, sample by sample."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from unetkit.training.augment import intensity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_stretch_sets_mean_and_std():
    images = torch.randn(2, 3, 40, 40, generator=seeded())
    factors, shifts = torch.rand(2, 3, generator=seeded()) + 0.5, torch.randn(2, 3, generator=seeded(1))
    found = intensity.stretch(images, factors, shifts).flatten(2)
    torch.testing.assert_close(found.mean(2), images.flatten(2).mean(2) + shifts)
    torch.testing.assert_close(found.std(2), images.flatten(2).std(2) * factors)
    assert torch.equal(intensity.stretch(images, torch.ones(2, 3), torch.zeros(2, 3)), images)


def test_gamma_keeps_minimum_and_maximum_and_order():
    images = torch.randn(2, 1, 30, generator=seeded()).sort(2).values[:, :, None]
    found = intensity.gamma(images, torch.tensor([[0.5], [2.0]]))
    torch.testing.assert_close(found.amin((2, 3)), images.amin((2, 3)))
    torch.testing.assert_close(found.amax((2, 3)), images.amax((2, 3)))
    assert bool((found.diff(dim=3) >= 0).all())
    assert bool((found[0] >= images[0] - 1e-6).all())
    assert bool((found[1] <= images[1] + 1e-6).all())


@pytest.mark.parametrize("size", [(20, 25), (7, 12, 9)])
def test_blur_is_scipys_gaussian_per_sample(size):
    images = torch.randn(3, 2, *size, generator=seeded())
    sigmas = torch.tensor([0.0, 0.6, 1.0])
    found = intensity.blur(images, sigmas).numpy()
    assert np.array_equal(found[0], images[0].numpy())
    for n in (1, 2):
        for c in range(2):
            expected = ndimage.gaussian_filter(images[n, c].numpy(), float(sigmas[n]), mode="nearest", radius=3)
            np.testing.assert_allclose(found[n, c], expected, atol=1e-5)


def test_noise_has_each_samples_std():
    found = intensity.noise(torch.zeros(2, 1, 200, 200), torch.tensor([0.1, 0.5]), generator=seeded())
    torch.testing.assert_close(found.flatten(1).std(1), torch.tensor([0.1, 0.5]), rtol=0.02, atol=0)
