"""Skips: what each makes of an encoder's and a decoder's map, the attention gate against numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from unetkit.nets.build import build
from unetkit.nets.papers import ronneberger2015
from unetkit.nets.skips import Add, Attention, AttentionGate, Concatenate, NoSkip, Reduce


def maps(ndim: int, *channels: int, size: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, *(size,) * ndim, generator=generator) for c in channels]


@pytest.mark.parametrize("ndim", [2, 3])
def test_concatenate_puts_the_cropped_encoder_in_front(ndim: int) -> None:
    [encoder], [decoder] = maps(ndim, 2, size=8), maps(ndim, 3)
    skip = Concatenate([2], 3)
    joined = skip([encoder], decoder, decoder)
    assert joined.shape == (2, skip.out_channels, *(4,) * ndim) == (2, 5, *(4,) * ndim)
    middle: Any = (..., *(slice(2, 6),) * ndim)
    assert torch.equal(joined[:, :2], encoder[middle])
    assert torch.equal(joined[:, 2:], decoder)


@pytest.mark.parametrize("ndim", [2, 3])
def test_reduce_is_a_matrix_over_the_concatenated_channels(ndim: int) -> None:
    a, b, up = maps(ndim, 2, 3, 4)
    skip = Reduce([2, 3], 4, width=4, ndim=ndim)
    matrix = skip.reduce.weight.detach().reshape(4, 9)
    expected = torch.einsum("oc,nc...->no...", matrix, torch.cat([a, b, up], 1))
    expected = expected + skip.reduce.bias.reshape(1, -1, *(1,) * ndim)
    torch.testing.assert_close(skip([a, b], up, up), expected)


def test_reduce_saves_what_the_arithmetic_says() -> None:
    c = 64  # facts: 27 C^2 without, 20 C^2 with the 1x1, biases left out
    assert Reduce([c], c, width=c, ndim=2).reduce.weight.numel() == 2 * c * c
    assert 2 * c * c + 2 * 9 * c * c == 81_920


@pytest.mark.parametrize("ndim", [2, 3])
def test_add_projects_only_where_widths_differ(ndim: int) -> None:
    a, b, up = maps(ndim, 4, 2, 4)
    skip = Add([4, 2], 4, ndim=ndim)
    matrix = skip.project[1].weight.detach().reshape(4, 2)  # type: ignore[union-attr,operator]
    projected = torch.einsum("oc,nc...->no...", matrix, b) + skip.project[1].bias.reshape(1, -1, *(1,) * ndim)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(skip([a, b], up, up), up + a + projected)


def test_no_skip_is_the_decoder_alone() -> None:
    a, up = maps(2, 2, 3)
    skip = NoSkip(3)
    assert skip([a], up, up) is up
    assert skip.out_channels == 3


def numpy_gate(gate: AttentionGate, x: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Oktay 2018, eq. 1 and 2, in 2D, written out pixel by pixel: (alpha before resampling, gated features)."""
    w = {name: p.detach().numpy().astype(float) for name, p in gate.named_parameters()}
    sy, sx = gate.stride
    channels, height, width = len(w["theta.weight"]), g.shape[1], g.shape[2]
    alpha = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            patch = x[:, sy * i : sy * i + sy, sx * j : sx * j + sx]
            hidden = [
                (w["theta.weight"][c] * patch).sum() + w["phi.weight"][c, :, 0, 0] @ g[:, i, j] + w["phi.bias"][c]
                for c in range(channels)
            ]
            alpha[i, j] = expit(w["psi.weight"][0, :, 0, 0] @ np.maximum(hidden, 0) + w["psi.bias"][0])
    fine = np.empty(x.shape[1:])
    for y in range(fine.shape[0]):  # half-pixel centres, the border repeated
        for z in range(fine.shape[1]):
            v, u = (y + 0.5) / sy - 0.5, (z + 0.5) / sx - 0.5
            v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
            i, j = min(int(v), height - 2), min(int(u), width - 2)
            a, b = v - i, u - j
            corners = alpha[i : i + 2, j : j + 2]
            fine[y, z] = np.array([1 - a, a]) @ corners @ np.array([1 - b, b])
    out = np.einsum("oc,cyx->oyx", w["out.0.weight"][:, :, 0, 0], fine * x) + w["out.0.bias"][:, None, None]
    return fine, out


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2)])
def test_the_gate_equals_an_independent_numpy_version(stride: tuple[int, int]) -> None:
    torch.manual_seed(0)
    gate = AttentionGate(3, 5, stride=stride, norm="none", padding="same")
    g = torch.randn(1, 5, 4, 3)
    x = torch.randn(1, 3, 4 * stride[0], 3 * stride[1])
    alpha, out = numpy_gate(gate, x[0].numpy().astype(float), g[0].numpy().astype(float))
    np.testing.assert_allclose(gate.attention(x, g)[0, 0].detach().numpy(), alpha, atol=1e-5)
    np.testing.assert_allclose(gate(x, g)[0].detach().numpy(), out, atol=1e-5)
    assert 0 < alpha.min() < alpha.max() < 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_open_gate_is_a_concatenation_and_a_closed_one_hides_the_encoder(ndim: int) -> None:
    torch.manual_seed(0)
    [encoder], [up], [coarse] = maps(ndim, 3, size=8), maps(ndim, 4, size=8), maps(ndim, 6, size=4)
    skip = Attention([3], 4, coarse=6, stride=(2,) * ndim, norm="none", padding="same")
    gate: Any = skip.gates[0]
    with torch.no_grad():
        gate.out[0].weight.copy_(torch.eye(3).reshape(3, 3, *(1,) * ndim))
        gate.out[0].bias.zero_()
        gate.psi.bias.fill_(100.0)
        assert torch.allclose(skip([encoder], up, coarse), torch.cat([encoder, up], 1))
        gate.psi.bias.fill_(-100.0)
        closed = skip([encoder], up, coarse)
    assert torch.equal(closed[:, :3], torch.zeros_like(encoder))
    assert torch.equal(closed[:, 3:], up)


def test_a_gate_of_an_unpadded_net_reads_the_middle_and_nothing_beyond_it() -> None:
    torch.manual_seed(0)
    [encoder], [up], [coarse] = maps(2, 3, size=12), maps(2, 4, size=6), maps(2, 6, size=4)
    skip = Attention([3], 4, coarse=6, stride=(2, 2), norm="none", padding="valid")
    joined = skip([encoder], up, coarse)
    gate: Any = skip.gates[0]
    middle = gate(encoder[:, :, 2:-2, 2:-2], coarse)[:, :, 1:-1, 1:-1]
    assert torch.equal(joined[:, :3], middle)


def test_parameters_of_the_whole_net_with_reduced_skips() -> None:
    with torch.device("meta"):
        net = build(replace(ronneberger2015(), skip="reduce"))
    assert sum(p.numel() for p in net.parameters()) == 28_594_498
