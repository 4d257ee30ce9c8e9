"""The state of a training on disk: a resumed optimiser takes the same steps, to the last bit."""

import pytest
import torch
from safetensors.torch import save_file

from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.checkpoint import flatten_optimiser, load_state, restore_optimiser, save_state


def made(ndim=2):
    torch.manual_seed(0)
    return UNet(Architecture(ndim=ndim, widths=(4, 8), norm="batch"))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_state_of_a_training_survives(tmp_path, ndim):
    net = made(ndim)
    other = made(ndim)
    net.train()
    optimisers = [torch.optim.AdamW(part.parameters(), lr=1e-2) for part in (net, other)]
    batches = [torch.randn(2, 1, *(8,) * ndim) for _ in range(4)]

    def step(part, optimiser, batch):
        optimiser.zero_grad()
        part(batch).square().mean().backward()
        optimiser.step()

    for batch in batches[:2]:
        step(net, optimisers[0], batch)
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()} | flatten_optimiser(optimisers[0])
    numbers = {"step": 2, "elapsed_s": 1.5, "best": -1.0, "losses": [0.1, float("nan")]}
    save_state(tmp_path / "last" / "state.safetensors", tensors, numbers)
    read, again = load_state(tmp_path / "last" / "state.safetensors")
    assert (again["step"], again["best"], again["losses"][0]) == (2, -1.0, 0.1)
    other.load_state_dict({name.removeprefix("net."): t for name, t in read.items() if name.startswith("net.")})
    restore_optimiser(optimisers[1], read)
    other.train()
    for batch in batches[2:]:
        step(net, optimisers[0], batch)
        step(other, optimisers[1], batch)
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    states = [flatten_optimiser(optimiser) for optimiser in optimisers]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_optimiser_without_a_step_has_no_state(tmp_path):
    net = made()
    optimiser = torch.optim.AdamW(net.parameters())
    assert flatten_optimiser(optimiser) == {}
    restore_optimiser(optimiser, {})
    assert optimiser.state_dict()["state"] == {}


def test_files_that_are_not_a_state(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(3), "b": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors: holds 2 tensors but no unetkit card"):
        load_state(path)
    with pytest.raises(FileNotFoundError, match=r"state: there is no such model file"):
        load_state(tmp_path / "state")
