"""Encoders of the real timm: `make test-pretrained`, in an environment of its own, as timm needs torchvision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

timm = pytest.importorskip("timm", reason="timm is not installed: make test-pretrained", exc_type=ImportError)

from unetkit.inference.execution import Execution  # noqa: E402 - skipped without timm
from unetkit.inference.predictor import Predictor  # noqa: E402
from unetkit.nets.build import build  # noqa: E402
from unetkit.nets.net import Net  # noqa: E402
from unetkit.nets.pretrained import load_encoder  # noqa: E402

# Whether each is local, which fresh weights hide: see `trained`.
ENCODERS = {
    "resnet34": True,
    "efficientnet_b0": False,  # squeeze and excitation pools all of space
    "convnext_pico": True,
    "convnextv2_atto": False,  # so does its response normalisation
    "mobilenetv2_100": True,
    "mobilenetv3_large_100": False,
    "regnetx_008": True,
    "regnety_008": False,
    "densenet121": True,
    "hrnet_w18_small": True,
    "swin_tiny_patch4_window7_224": False,
    "pvt_v2_b0": False,
}


def trained(net: nn.Module) -> None:
    """Gains, gates and layer scales as after training: where they are 0 or nearly so they hide what a layer reads."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            last = name.rpartition(".")[2]
            if last in ("running_var", "gamma") or (last == "weight" and tensor.ndim == 1):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def built(name: str, **fields: Any) -> Net:
    torch.manual_seed(0)
    net = build(encoder=name, out_channels=3, **fields)
    trained(net)
    return net.eval()


@pytest.mark.parametrize(("name", "is_local"), ENCODERS.items(), ids=ENCODERS)
def test_tiles_are_exact_or_the_net_says_why_not(name: str, is_local: bool) -> None:
    net = built(name, in_channels=3)
    assert net.is_local == is_local
    image = np.random.default_rng(0).normal(size=(3, 640, 480)).astype(np.float32)
    with torch.no_grad():
        whole = net(torch.from_numpy(image)[None])[0].numpy()
    assert whole.shape == (3, 640, 480)
    predictor = Predictor(net, execution=Execution(memory_bytes=2**31 if not is_local else 2**28))
    tiling = predictor.plan((640, 480))
    assert tiling.is_exact
    assert not is_local or tiling.slab or len(tiling.tiles) > 1
    logits = predictor(image).logits
    assert logits is not None
    assert np.abs(logits - whole).max() <= 1e-4 * np.abs(whole).max()
    if not is_local:
        assert "not local" in Predictor(net, execution=Execution(memory_bytes=2**27)).plan((960, 960)).describe()


WRITTEN = ("resnet34", "convnext_pico", "efficientnet_b0", "densenet121", "swin_tiny_patch4_window7_224")


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_a_file_that_timm_wrote_is_loaded(name: str, in_channels: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name, pretrained=False)
    trained(whole)
    timm.models.save_for_hf(whole, tmp_path, safe_serialization=True)
    net = built(name, in_channels=in_channels)
    load_encoder(net, str(tmp_path / "model.safetensors"))
    encoder: Any = net.encoder
    options = {"strict_img_size": False} if name.startswith("swin") else {}
    features = timm.create_model(name, features_only=True, pretrained=False, **options)
    features.load_state_dict(encoder.body.state_dict() if in_channels == 3 else whole_names(features, whole))
    features.eval()
    gray = torch.rand(2, 1, 96, 128)
    with torch.no_grad():
        maps = encoder.eval().body(gray.expand(2, in_channels, 96, 128))
        expected = features(gray.expand(2, 3, 96, 128))
    for ours, theirs in zip(maps, expected, strict=True):
        assert ours.shape == theirs.shape
        if in_channels != 4:  # four equal channels are not the three in equal parts
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def whole_names(features: nn.Module, whole: nn.Module) -> dict[str, torch.Tensor]:
    theirs = {name.replace(".", "_"): tensor for name, tensor in whole.state_dict().items()}
    return {name: theirs[name.replace(".", "_")] for name in features.state_dict()}


def test_what_a_model_was_trained_with_is_what_it_gets() -> None:
    """Inception v3 saw photographs scaled to -1 ... 1."""
    encoder: Any = built("inception_v3", in_channels=3).encoder
    photograph = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) + torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert torch.allclose(torch.ones(3, 1, 1) * encoder.scale + encoder.offset, (photograph - 0.5) / 0.5, atol=1e-6)
    assert built("resnet34", in_channels=3).encoder.scale is None  # type: ignore[union-attr]
