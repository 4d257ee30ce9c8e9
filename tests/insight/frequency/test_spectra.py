"""Energy over frequency: waves of known amplitude are found where they are, to 1 %; patterns, exactly."""

from math import pi

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.insight.frequency.spectra import (
    Line,
    draw_periodic_energy,
    draw_spectra,
    periodic_energy,
    radial_spectrum,
    share_above,
)
from unetkit.plotting.matplotlib_style import svg

SIZES = {1: (200,), 2: (96, 128), 3: (36, 40, 48)}
LIMITS = {1: [(1 / 4,)], 2: [(1 / 4, 1 / 4), (1 / 4, 1 / 8), (1 / 6, 0.5)], 3: [(1 / 4,) * 3, (0.5, 1 / 4, 1 / 4)]}


def wave(size: tuple[int, ...], frequency: np.ndarray, phase: float = 0.0) -> np.ndarray:
    at = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    return np.cos(2 * pi * sum(f * x for f, x in zip(frequency, at, strict=True)) + phase)


def resolved(frequency: np.ndarray, size: tuple[int, ...]) -> bool:
    """Whether a window of this size tells two waves of this difference in frequency apart."""
    return bool((np.abs(frequency - np.rint(frequency)) > 3 / np.array(size)).any())


def draw_waves(rng: np.random.Generator, size: tuple[int, ...], limits: tuple[float, ...]) -> list[np.ndarray]:
    """Four arbitrary frequencies that the size resolves from the limits, from 0 and from each other."""
    found: list[np.ndarray] = []
    while len(found) < 4:
        f = rng.uniform(-0.5, 0.5, len(size))
        rows = zip(f, limits, size, strict=True)
        is_near = any(limit < 0.5 and abs(abs(x) - limit) < 2.5 / n for x, limit, n in rows)
        others = [0 * f, -f, *found, *(-g for g in found)]
        if not is_near and all(resolved(f - g, size) for g in others):
            found.append(f)
    return found


@pytest.mark.parametrize(("ndim", "limits"), [(d, limits) for d, rows in LIMITS.items() for limits in rows])
def test_share_above_is_right_to_one_percent_for_any_gratings(ndim: int, limits: tuple[float, ...]) -> None:
    rng, size, shares = np.random.default_rng(ndim), SIZES[ndim], []
    for _ in range(8):
        frequencies = draw_waves(rng, size, limits)
        amplitudes, phases = rng.uniform(0.5, 3, 4), rng.uniform(0, 2 * pi, 4)
        rows = zip(amplitudes, frequencies, phases, strict=True)
        image = 5 + sum(a * wave(size, f, phase) for a, f, phase in rows)
        is_above = [any(abs(x) > limit for x, limit in zip(f, limits, strict=True)) for f in frequencies]
        expected = float((amplitudes**2 * is_above).sum() / (amplitudes**2).sum())
        assert share_above(image, limits) == pytest.approx(expected, abs=0.01)
        shares.append(expected)
    assert min(shares) < 0.6 < max(shares)  # they differ, so that the test can fail


@pytest.mark.parametrize("ndim", [2, 3])
def test_maps_count_with_their_energies(ndim: int) -> None:
    size = SIZES[ndim]
    fine, coarse = (wave(size, np.full(ndim, f)) for f in (0.4, 0.11))
    found = share_above(np.stack([3 * fine, 1 + 4 * coarse]), 0.25, ndim=ndim)
    assert found == pytest.approx(9 / 25, abs=0.01)


def test_share_above_does_not_depend_on_unit_or_offset() -> None:
    image = np.random.default_rng(0).normal(size=(40, 51))
    share = share_above(image, 0.25)
    assert share_above(1e4 + 30 * image, 0.25) == pytest.approx(share, rel=1e-6)
    assert share == pytest.approx(3 / 4, abs=0.05)  # noise: three quarters of all waves
    assert share_above(image, 0.5) == 0
    assert share_above(image, 1e-6) == pytest.approx(1)
    assert share_above(np.full((16, 16), 0.1, dtype=np.float32), 0.25) == 0


def test_borders_do_not_fake_fine_detail() -> None:
    y, x = np.mgrid[:64, :80]
    ramp = 3.0 * x + y
    modes = np.abs(np.fft.fft2(ramp - ramp.mean())) ** 2
    jumps = modes[:, np.abs(np.fft.fftfreq(80)) > 0.25].sum() / modes.sum()
    assert jumps > 0.01  # what the plain transform says of a ramp
    assert share_above(ramp, 0.25) < 1e-6


@pytest.mark.parametrize("size", [(64,), (33, 64), (48, 31), (12, 20, 17), (1, 24, 24)])
def test_energies_of_all_modes_add_up_to_the_variance(size: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).normal(size=size)
    found = radial_spectrum(image)
    window = np.ones(())
    for n in size:
        window = np.multiply.outer(window, np.sin(pi * (np.arange(n) + 0.5) / n) ** 2)
    mean = (image * window).sum() / window.sum()
    variance = ((image - mean) ** 2 * window**2).sum() / (window**2).sum()
    assert found.energy == pytest.approx(variance)
    assert found.modes.sum() == image.size - 1  # all but the mean
    assert (np.diff(found.frequencies) > 0).all()


@pytest.mark.parametrize(
    ("size", "frequency"), [((64, 96), (0.25, 0.125)), ((96, 64), (0.0, 0.4)), ((32, 32, 48), (0.25,) * 3)]
)
def test_a_wave_is_at_the_length_of_its_frequency(size: tuple[int, ...], frequency: tuple[float, ...]) -> None:
    found = radial_spectrum(wave(size, np.array(frequency)))
    assert found.frequencies[found.power.argmax()] == pytest.approx(np.linalg.norm(frequency), abs=2 / min(size))


def test_the_spectrum_of_noise_is_flat() -> None:
    found = radial_spectrum(np.random.default_rng(2).normal(size=(3, 128, 96)), ndim=2)
    rings = np.array_split(np.arange(len(found.power)), 4)
    levels = [np.average(found.power[ring], weights=found.modes[ring]) * 128 * 96 for ring in rings]
    assert levels == pytest.approx([1] * 4, abs=0.15)


def test_one_plane_is_an_image() -> None:
    image = np.random.default_rng(3).normal(size=(20, 24))
    flat, volume = radial_spectrum(image), radial_spectrum(image[None])
    np.testing.assert_allclose(volume.power, flat.power)
    assert share_above(image[None], (0.1, 0.25, 0.25)) == pytest.approx(share_above(image, 0.25))


def test_spacing_gives_frequencies_of_the_image() -> None:
    coarse = wave((64, 64), np.array([0.0, 0.25]))
    plain, scaled = radial_spectrum(coarse), radial_spectrum(coarse, spacing=(4, 4))
    assert plain.frequencies[plain.power.argmax()] == pytest.approx(0.25, rel=1e-3)
    assert scaled.frequencies[scaled.power.argmax()] == pytest.approx(0.25 / 4, rel=1e-3)
    assert scaled.energy == pytest.approx(plain.energy)


def smooth(size: tuple[int, ...]) -> np.ndarray:
    """A wave of period n: no multiple of 1/8."""
    return wave(size, 1 / np.array(size), 0.3)


@pytest.mark.parametrize("size", [(40, 48), (16, 24, 32)])
def test_added_checkerboards_are_recovered(size: tuple[int, ...]) -> None:
    d = len(size)
    board = 0.25 * wave(size, np.full(d, 1 / 2))
    four = 0.5 * wave(size, np.array([1 / 4] * (d - 1) + [0]), 0.7)
    eight = 0.1 * wave(size, np.array([3 / 8] + [0] * (d - 1)), 0.2)
    found = periodic_energy(2 * smooth(size) + board + four + eight + 7)
    expected = np.array([0.25**2, 0.5**2 / 2, 0.1**2 / 2])
    total = expected.sum() + 2**2 / 2
    assert found.amplitudes == pytest.approx(np.sqrt(expected))
    assert found.shares == pytest.approx(expected / total)
    assert found.deviation == pytest.approx(total**0.5)


@pytest.mark.parametrize("size", [(40, 48), (16, 24, 32)])
def test_shares_are_the_energies_of_the_modes(size: tuple[int, ...]) -> None:
    image = np.random.default_rng(4).normal(size=size)
    modes = np.abs(np.fft.fftn(image - image.mean())) ** 2
    energies = [modes[np.ix_(*(range(0, n, n // p) for n in size))].sum() / modes.sum() for p in (2, 4, 8)]
    found = periodic_energy(image)
    assert np.cumsum(found.shares) == pytest.approx(energies)


def test_what_exceeds_the_longest_period_is_cropped() -> None:
    image = np.random.default_rng(5).normal(size=(2, 19, 29))
    assert periodic_energy(image, ndim=2) == periodic_energy(image[:, :16, :24], ndim=2)
    assert periodic_energy(image, ndim=2, periods=(3, 6)) == periodic_energy(image[:, :18, :24], ndim=2, periods=(3, 6))


def test_a_smooth_or_even_array_has_no_checkerboard() -> None:
    assert periodic_energy(smooth((32, 32))).amplitudes == pytest.approx((0, 0, 0), abs=1e-12)
    even = periodic_energy(np.full((8, 8), 0.1))
    assert even.shares == (0, 0, 0)
    assert even.deviation == 0


@torch.no_grad()
def test_uneven_overlap_makes_a_checkerboard_and_repeated_pixels_do_not() -> None:
    up = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1, bias=False)
    convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    for layer in (up, convolution):
        nn.init.constant_(layer.weight, 1)
    x = torch.from_numpy(1 + 0.1 * smooth((40, 40)))[None, None].float()
    uneven, even = up(x), convolution(nn.Upsample(scale_factor=2)(x))
    shares = [periodic_energy(y[0, 0, 8:-8, 8:-8].numpy()).shares[0] for y in (uneven, even)]
    assert shares[0] > 0.9
    assert shares[1] < 1e-6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: radial_spectrum(x, spacing=(1, 2, 3)), r"spacing is \(1, 2, 3\); expected 2 numbers above 0"),
        (lambda x: radial_spectrum(x, spacing=(1, 0)), r"spacing is \(1, 0\)"),
        (lambda x: radial_spectrum(x, ndim=3), r"the shape \(16, 16\); expected pixels, with 3 axes"),
        (lambda x: radial_spectrum(x[:0]), r"the shape \(0, 16\)"),
        (lambda x: share_above(x, (0.25,)), r"limits are \(0.25,\); expected 2 numbers above 0"),
        (lambda x: share_above(x, 0.0), r"limits are \(0.0, 0.0\)"),
        (lambda x: share_above(np.where(x > 0, np.nan, 1), 0.25), r"16 of 256 values are not finite"),
        (lambda x: periodic_energy(x[:7]), r"\(7, 16\) pixels; a period of 8 needs at least 8"),
        (lambda x: periodic_energy(x, periods=(2, 3)), r"periods are \(2, 3\)"),
        (lambda x: periodic_energy(x, periods=(2, 2)), r"periods are \(2, 2\)"),
        (lambda x: periodic_energy(x, periods=(1, 2)), r"periods are \(1, 2\)"),
        (lambda x: periodic_energy(x, periods=()), r"periods are \(\)"),
    ],
)
def test_errors_say_what_was_given(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(np.eye(16))  # type: ignore[operator]


def test_pictures_show_every_spectrum_and_share() -> None:
    image = np.random.default_rng(6).normal(size=(64, 64))
    rows = {"image": image, "smooth": smooth((64, 64)), "even": np.ones((64, 64))}
    lines = [Line(name, radial_spectrum(array), limit=0.25) for name, array in rows.items()]
    figure = draw_spectra(lines, limits=[0.125])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["image", "smooth"]  # the rest has no energy
    axis = figure.axes[0]
    thin, thick = axis.lines[0].get_xdata(), axis.lines[1].get_xdata()
    assert min(thick) > 0.25 > min(thin)  # type: ignore[type-var]
    assert [float(x) for x in axis.lines[-1].get_xdata()] == [0.125, 0.125]
    boards = draw_periodic_energy([(name, periodic_energy(array)) for name, array in rows.items()])
    low, high = boards.axes[0].get_xlim()
    assert all(low < x < high for line in boards.axes[0].lines for x in line.get_xdata())
    empty = draw_spectra([Line("even", radial_spectrum(np.ones((8, 8))))])
    assert len(empty.axes[0].lines) == 0
    assert svg(empty, label="none").startswith("<svg")  # no warning of logarithms


def test_lines_of_one_unit_can_be_compared() -> None:
    found = radial_spectrum(smooth((64, 64)))
    alone, shared = (draw_spectra([Line("a", found, unit=unit)]).axes[0].lines[0] for unit in (None, 2 * found.energy))
    assert np.sum(alone.get_ydata() * found.modes) == pytest.approx(1)
    assert np.sum(shared.get_ydata() * found.modes) == pytest.approx(0.5)
