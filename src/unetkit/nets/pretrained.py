"""Encoders of timm, trained on photographs, in place of the contracting path.

timm's models begin by dividing the image by 2 or 4; masks need the full resolution. So the finest level stays a block
of our own, on the image itself, and the levels below it are timm's::

    image --+-- own block ----------- widths[0], stride 1
            +-- timm's first maps --- widths[1], stride 2 (4 for some, whose first pooling is then one of 4)
                  timm's next ones -- widths[2], stride 4 ...

Images come normalised to mean 0 and deviation 1, once per image, as photographs come to most models on average. Models
that were trained with another mean and deviation get them so: an image of mean 0 and deviation 1 becomes what the
average photograph was to them. That is one scale and offset per channel, the same for tiles and for the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .net import Net
from .parts import Encoder, Parts

# First parts of names that belong to a classifier behind the encoder, and to what some models have just before it.
_CLASSIFIER = {"fc", "classifier", "head", "head_dist", "last_linear", "conv_head", "norm_head", "norm", "bn2"}
_PICKLED = {".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl"}
_NAMED = 3  # tensors named in an error
_PHOTOGRAPHS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of ImageNet per channel, 0 to 1


def contracting_path(parts: Parts) -> nn.Module:
    """The encoder of an architecture, with fresh weights: our own, or one of timm."""
    return Encoder(parts) if parts.architecture.encoder is None else TimmEncoder(parts)


class TimmEncoder(nn.Module):
    """An own block at full resolution, and the levels of a timm model below it.

    Weights are fresh; `load_encoder` brings pretrained ones, a model file its own.

    Parameters
    ----------
    parts : Parts
        Of an architecture with an `encoder`. Where it has fewer levels than the model, the coarsest are left out.

    Attributes
    ----------
    channels : tuple of int
        Of each map.
    scale, offset : Tensor of shape (C, 1, 1), or None
        By which an image of mean 0 and deviation 1 becomes what the model was trained with; None if that is the same.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no such encoder, or its widths or strides are not the architecture's.
    """

    scale: Tensor | None
    offset: Tensor | None

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        a = parts.architecture
        self.block = parts.encoder(0, a.in_channels)
        self.body = _create(a.encoder or "", a.in_channels, levels=parts.depth)
        channels, strides = _shape(a.encoder, self.body)
        if channels != a.widths[1:] or tuple((s, s) for s in strides) != a.strides:
            raise ValueError(
                f"encoder {a.encoder} has the widths {channels} and strides {strides} below the finest level; the "
                f"architecture has {a.widths[1:]} and {a.strides}: take them from encoder_shape"
            )
        self.dropouts = nn.ModuleList(parts.dropout(level) for level in range(parts.depth + 1))
        self.channels: tuple[int, ...] = (self.block.out_channels, *channels)
        scale, offset = _photograph(self.body, a.in_channels) or (None, None)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (N, channels[i], *spatial / stride), finest first."""
        photograph = x if self.scale is None or self.offset is None else x * self.scale + self.offset
        maps = [self.block(x), *map(self._channels_first, self.body(photograph))]
        return [dropout(features) for dropout, features in zip(self.dropouts, maps, strict=True)]

    def _channels_first(self, features: Tensor) -> Tensor:
        """A map with its channels first: those of some transformers come last."""
        return features.permute(0, 3, 1, 2) if getattr(self.body, "output_fmt", "") == "NHWC" else features

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        if self.scale is not None and self.offset is not None:  # models of version 0.1 have none
            state_dict.setdefault(f"{prefix}scale", torch.ones_like(self.scale))
            state_dict.setdefault(f"{prefix}offset", torch.zeros_like(self.offset))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _photograph(model: Any, in_channels: int) -> tuple[Tensor, Tensor] | None:
    """Scale and offset that make the average photograph, of mean 0 and deviation 1, what a model was trained with."""
    about = getattr(model, "pretrained_cfg", None) or {}
    own = tuple(tuple(about.get(key, known)) for key, known in zip(("mean", "std"), _PHOTOGRAPHS, strict=True))
    if own == _PHOTOGRAPHS or any(len(values) != 3 for values in own):
        return None
    (photo_mean, photo_std), (mean, std) = (map(torch.tensor, values) for values in (_PHOTOGRAPHS, own))
    scale, offset = photo_std / std, (photo_mean - mean) / std
    if in_channels == 3:
        index = torch.arange(3)
    else:  # as the weights of the first convolution: one channel is the sum of three alike
        scale, offset, index = scale.mean().expand(3), offset.mean().expand(3), torch.arange(in_channels) % 3
    return scale[index].view(-1, 1, 1).clone(), offset[index].view(-1, 1, 1).clone()


def encoder_shape(name: str, *, in_channels: int, width: int) -> dict[str, Any]:
    """Fields of an `Architecture` that an encoder sets: `encoder`, `widths`, `strides` and `decoder_widths`.

    The decoder is as wide as that of a U-Net whose widths double from the finest level on, and nowhere wider than the
    encoder.

    Parameters
    ----------
    name : str
        Of a timm model.
    in_channels : int
        Of the image.
    width : int
        Channels of the own finest level.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no such encoder.
    """
    channels, strides = _shape(name, _create(name, in_channels))
    decoder, reduction = [width], 1
    for channel, stride in zip(channels[:-1], strides, strict=False):
        reduction *= stride
        decoder.append(min(channel, width * reduction))
    widths = (width, *channels)
    return {"encoder": name, "widths": widths, "strides": strides, "decoder_widths": tuple(decoder)}


def check_encoder(name: str | None, weights: str | None) -> None:
    """Check an encoder and its weights before any image is read.

    Parameters
    ----------
    name : str, optional
        Of a timm model; None is our own.
    weights : str, optional
        "imagenet", "none", or a .safetensors file.

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no such encoder, there are weights without one, or the file is not of a kind that is read.
    FileNotFoundError
        If there is no such file.
    """
    if name is None:
        if weights is not None:
            raise ValueError(f"weights are {weights!r}, but there is no encoder to load them into: give encoder too")
        return
    _shape(name, _create(name, 3))
    if weights not in (None, "imagenet", "none"):
        _check_path(Path(str(weights)))


def load_encoder(net: Net, weights: str) -> None:
    """Load pretrained weights into the encoder of a net, in place; all other weights stay as they are.

    Parameters
    ----------
    net : Net
        Of an architecture with an `encoder`.
    weights : str
        "imagenet" (timm's own, which timm downloads), "none", or the path of a .safetensors state dict of the model;
        its classifier is ignored. A first convolution of 3 channels becomes one of the net's as timm does it: one
        channel gets the sum, more get the three in turn, scaled by 3 / channels.

    Raises
    ------
    RuntimeError
        If timm cannot fetch the weights.
    ValueError
        If the net has no such encoder, or the file does not hold what the encoder needs; the tensors are named.
    FileNotFoundError
        If there is no such file.
    """
    if not isinstance(net.encoder, TimmEncoder):
        raise ValueError(f"weights are {weights!r}, but the net has its own encoder: build it with an encoder of timm")
    a = net.architecture
    if weights == "imagenet":
        state = _fetch(str(a.encoder), a.in_channels, levels=len(a.widths) - 1)
    elif weights != "none":
        tensors = _read(Path(weights))
        try:
            state = _fitted(net.encoder.body.state_dict(), tensors, a.in_channels)
        except ValueError as error:
            raise ValueError(f"{weights}: does not fit encoder {a.encoder}: {error}") from None
    else:
        return
    net.encoder.body.load_state_dict(state)


def _create(name: str, in_channels: int, *, levels: int | None = None, pretrained: bool = False) -> nn.Module:
    """timm's model as a list of feature maps, the finest `levels` of them; the one place that imports timm."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises RuntimeError
        raise ImportError(
            f"encoder {name} needs timm ({_line(error)}): pip install 'unetkit[pretrained]'", name="timm"
        ) from None
    options: dict[str, Any] = {"features_only": True, "in_chans": in_channels, "pretrained": pretrained}
    try:
        with torch.device("cpu"):  # some models compute with numbers of tensors, which none on "meta" has
            try:  # Swin and its like take images of one size, unless they are told otherwise
                model: Any = timm.create_model(name, **options, strict_img_size=False)
                options["strict_img_size"] = False
            except TypeError:
                model = timm.create_model(name, **options)
            if levels is not None and levels < len(model.feature_info.channels()):
                model = timm.create_model(name, out_indices=tuple(range(levels)), **options)
    except Exception as error:
        if pretrained:
            raise
        raise ValueError(f"timm has no encoder {name!r} that gives feature maps: {_line(error)}") from None
    return model  # type: ignore[no-any-return]


def _shape(name: str | None, model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels per map, and the stride of each relative to the one before it, the image being the first."""
    channels, reductions = tuple(model.feature_info.channels()), (1, *model.feature_info.reduction())
    steps = list(pairwise(reductions))
    if any(coarse % fine or coarse == fine for fine, coarse in steps[1:]):
        raise ValueError(
            f"encoder {name} has maps of the strides {reductions[1:]}; expected each a multiple of the one before"
        )
    return channels, tuple(coarse // fine for fine, coarse in steps)


def _fetch(name: str, in_channels: int, *, levels: int) -> Mapping[str, Tensor]:
    try:
        return _create(name, in_channels, levels=levels, pretrained=True).state_dict()
    except ImportError:
        raise
    except Exception as error:  # whatever the library raises that fetches: OSError, its own, ...
        raise RuntimeError(
            f"the weights of {name} could not be fetched ({_line(error)}): download them elsewhere and give --weights "
            "FILE.safetensors, or start from scratch with --weights none"
        ) from error


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _check_path(path: Path) -> None:
    if path.suffix.lower() in _PICKLED:
        raise ValueError(
            f"{path}: is pickled, which can run any code when it is read and is never read here; convert it once: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )
    if path.suffix.lower() != ".safetensors":
        raise ValueError(f"weights are {str(path)!r}; expected imagenet, none, or a .safetensors file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")


def _read(path: Path) -> dict[str, Tensor]:
    _check_path(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        size = path.stat().st_size
        raise ValueError(f"{path}: is truncated or not a safetensors file ({size} bytes; {error})") from None


def _fitted(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """The tensors of a file under the encoder's names; a ValueError names what does not fit."""
    theirs = {_flat(name): (name, tensor) for name, tensor in tensors.items()}
    state, missing, misshaped = {}, [], []
    for name, tensor in own.items():
        their_name, value = theirs.pop(_flat(name), (name, None))
        if value is None:
            if name.endswith("num_batches_tracked"):  # older files have none, and nothing is computed from it
                state[name] = tensor
            else:
                missing.append(name)
            continue
        value = _adapted(value, tensor.shape, in_channels)
        if value.shape != tensor.shape:
            misshaped.append(f"{their_name} is {tuple(value.shape)}, not {tuple(tensor.shape)}")
        state[name] = value
    unexpected = [name for name, _ in theirs.values() if name.split(".")[0] not in _CLASSIFIER]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if any(faults.values()):
        raise ValueError("; ".join(_some(fault, names) for fault, names in faults.items() if names))
    return state


def _flat(name: str) -> str:
    """A name as timm's feature nets and its whole models share it: the former make "stages.0" "stages_0"."""
    return name.replace(".", "_")


def _some(fault: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {fault} ({', '.join(names[:_NAMED])}{more})"


def _adapted(weight: Tensor, shape: torch.Size, in_channels: int) -> Tensor:
    """The first convolution for another number of channels; 1, or a multiple of 3, give for equal ones what 3 gave."""
    is_first = weight.ndim == 4 and weight.shape[1] == 3 and shape == (weight.shape[0], in_channels, *weight.shape[2:])
    if not is_first or in_channels == 3:
        return weight
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    copies = weight.repeat(1, -(-in_channels // 3), 1, 1)[:, :in_channels]
    return copies * (3 / in_channels)
