"""The sections on frequencies and shifts: their words are the numbers, for any net."""

import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.insight.frequency.aliasing import measure_aliasing
from unetkit.insight.frequency.spectra import Spectrum, share_above
from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.insight.shift import Shifts, shift_equivariance
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.report.inspection import frequencies, shifts
from unetkit.report.inspection.frequencies import frequencies_section, percent
from unetkit.report.inspection.shifts import shifts_section


class Odd(nn.Module):
    """A user's own net: a pyramid of the image beside the encoder, one logit, a sum in place of skips."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(1, 4, 5, padding=2)
        self.deep, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x)) + self.side(F.avg_pool2d(x, 2))
        z = F.interpolate(self.deep(F.max_pool2d(y, 2)), scale_factor=2)
        out: Tensor = self.head(F.interpolate(y + z, scale_factor=2, mode="bilinear"))
        return out


NETS: dict[str, Any] = {
    "2D": lambda: build(Architecture(widths=(4, 6, 8))),
    "no skips": lambda: build(Architecture(widths=(4, 8), skip="none", down="blur")),
    "valid": lambda: build(Architecture(widths=(4, 6), padding="valid", norm="none")),
    "three classes, instance": lambda: build(Architecture(widths=(4, 6), out_channels=3, norm="instance")),
    "nested": lambda: build(Architecture(widths=(4, 4, 6), topology="unet++", heads="all")),
    "volume": lambda: build(Architecture(widths=(2, 4), ndim=3)),
    "own": Odd,
    "flat": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)),
    "coarse": lambda: nn.Conv2d(1, 2, 2, stride=2),
}


def inspection(name: str, *, has_truth: bool = True) -> Inspection:
    """A net with random weights, biases too, and discs in noise."""
    torch.manual_seed(0)
    net = NETS[name]()
    for parameter in net.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.5)
    size = (24, 32, 32) if name == "volume" else (72, 80)
    rng = np.random.default_rng(0)
    at = np.meshgrid(*(np.sin(np.arange(n) / 5) for n in size), indexing="ij")
    truth = (sum(at) > 0.5).astype(np.uint8)
    truth[..., :3] = 255
    image = (truth % 255 + rng.normal(size=size)).astype(np.float32)
    return inspect_array(net, image[None], name=name, source="discs.png", truth=truth if has_truth else None)


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Figures are made, but not written as SVG, which takes a quarter of a second each."""
    if request.function is not test_noise_and_untrained_nets_have_frequencies:
        for module in (frequencies, shifts):
            monkeypatch.setattr(module, "svg", lambda figure, label: f"<svg {label}>{len(figure.axes)}</svg>")


def captions(page: str) -> list[str]:
    found = re.findall(r"<figcaption>(.*?)</figcaption>", page, flags=re.DOTALL)
    assert len(found) == page.count("<figure>") == page.count("<svg ")
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("has_truth", [True, False])
def test_every_net_has_its_frequencies(name: str, has_truth: bool) -> None:
    inspected = inspection(name, has_truth=has_truth)
    page = frequencies_section(inspected)
    words = captions(page)
    assert len(words) >= (4 if measure_aliasing(inspected) else 1)
    assert "nan" not in page.lower().replace("nanometre", "")
    assert all(len(caption) > 60 and caption.strip().endswith(".") for caption in words)
    assert ("of the error" in words[0]) == (has_truth and name != "coarse")
    for down in measure_aliasing(inspected):
        assert f"{percent(down.above)} in {down.stage}" in page
        assert f'<td class="number">{percent(down.aliased)}</td>' in page


def test_the_first_sentence_gives_the_image_its_share() -> None:
    inspected = inspection("2D")
    share = share_above(inspected.image[0].numpy(), 1 / 4, ndim=2)
    words = captions(frequencies_section(inspected))[0]
    assert "Above 0.25 cycles per pixel (waves shorter than 4 px), " in words
    assert f"{percent(share)} of the energy of the image" in words


def test_sentences_on_skips_are_true() -> None:
    assert "Only the skips carry it to the decoder." in frequencies_section(inspection("2D"))
    assert "None of these stages has a skip: it is lost." in frequencies_section(inspection("no skips"))
    assert "has no down-sampling" in frequencies_section(inspection("flat"))


def test_noise_and_untrained_nets_have_frequencies() -> None:
    inspected = inspect_noise(build(Architecture(widths=(2, 4))), name="unet")
    assert captions(frequencies_section(inspected))
    assert captions(shifts_section(inspected))


def spectrum(*octaves: float) -> Spectrum:
    """Energies from 1/4 to 1/2 cycles per pixel, from 1/8 to 1/4, ..."""
    places = np.array([0.75 * 2.0**-k for k in range(1, len(octaves) + 1)])[::-1]
    return Spectrum(places, np.array(octaves)[::-1], np.ones(len(octaves)))


def test_the_mask_follows_the_truth_down_to_where_errors_prevail() -> None:
    truth = spectrum(1, 2, 4, 8)
    follows = frequencies._describe_error
    assert "less than half" in follows(truth, spectrum(0.4, 2, 4, 8))
    assert "From 0.25 cycles per pixel on (waves shorter than 4 px)" in follows(truth, spectrum(0.6, 0.9, 4, 8))
    assert "From 0.062 cycles per pixel on (waves shorter than 16 px)" in follows(truth, spectrum(1, 2, 4, 0))


def test_an_empty_truth_is_nothing_to_follow() -> None:
    inspected = inspection("2D")
    assert inspected.truth is not None
    inspected.truth[:] = 255
    assert "of the error" not in frequencies_section(inspected)
    inspected.truth[:] = 0
    assert "of the error" in frequencies_section(inspected)


def test_a_dead_net_has_a_page() -> None:
    inspected = inspection("2D")
    for parameter in inspected.net.parameters():
        nn.init.zeros_(parameter)
    assert "0 % in encoder 0" in frequencies_section(inspected)
    assert "No pixel changes its class" in shifts_section(inspected)


def test_checkerboards_are_said_to_be_there_only_where_they_are() -> None:
    up = nn.ConvTranspose2d(1, 2, 3, 2, 1, 1)
    plain, even = (
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2), layer) for layer in (up, nn.Upsample(scale_factor=2))
    )
    for parameter in plain.parameters():
        nn.init.constant_(parameter, 1)
    with torch.no_grad():
        up.weight[:, 0] = 0
    image = np.sin(np.arange(64 * 64).reshape(1, 64, 64) / 700).astype(np.float32)
    pages = [frequencies_section(inspect_array(net, image, name="up", source="up")) for net in (plain, even)]
    assert re.search(r"At 2 px[^.]* more than twice the image&#x27;s share", pages[0])
    assert "most of it repeats every 2 px" in pages[0]
    assert "there is no sign of a checkerboard" in pages[1]
    assert "Response to a constant image" not in pages[1]


@pytest.mark.parametrize("name", NETS)
def test_every_net_has_its_shifts(name: str) -> None:
    inspected = inspection(name)
    page = shifts_section(inspected)
    assert "nan" not in page.lower()
    if name == "coarse":
        assert "another scale" in page
        assert "<figure>" not in page
        return
    found = shift_equivariance(inspected)
    words = captions(page)
    if found.changed.any():
        assert f"For a shift of 1 px, {percent(float(found.changed[:, 0].mean()))} of the pixels" in words[0]
        assert f"{percent(found.outline)} of the pixels lie next to another class" in words[0]
    assert ("The image is too small to compare" in page) != found.is_clear
    assert ("statistics over the whole image" in page) == (not inspected.graph.is_local)
    assert ("has no down-sampling" in page) == (name == "flat")


def test_exact_multiples_are_said_to_be_exact() -> None:
    page = shifts_section(inspection("valid"))
    assert "multiples of the total stride, where no pixel changes." in page


def test_an_image_too_small_to_move_is_said_to_be() -> None:
    net = build(Architecture(widths=(2, 4, 8, 8)))
    inspected = inspect_array(net, np.zeros((1, 8, 8), dtype=np.float32), name="unet", source="tiny.png")
    assert "Shifts were not measured: the image has 8 x 8 pixels" in shifts_section(inspected)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.5, "50 %"),
        (1, "100 %"),
        (0.0999, "10.0 %"),
        (0.012, "1.2 %"),
        (0.0012, "0.12 %"),
        (1e-5, "0.001 %"),
        (1e-6, "under 0.001 %"),
    ],
)
def test_shares_are_written_with_two_digits(share: float, words: str) -> None:
    assert percent(share) == words


def test_only_multiples_of_each_axis_stride_are_spoken_of() -> None:
    changed = np.array([[0.1, 0.02, 0.1, 0.0], [0.1, 0.2, 0.1, 0.03]])
    rest = np.zeros((2, 2)), (slice(0, 2), slice(0, 2)), True
    found = Shifts((1, 2, 3, 4), (0, 1), (2, 4), changed, changed / 2, 0.3, *rest)
    words = shifts._describe_changes(found)
    assert "For a shift of 1 px, 10 % of the pixels change their class; most do, 11 %, for one of 2 px." in words
    assert "multiples of the total stride, where 3.0 % change at most." in words
