"""Nets by name: those of papers, each a short function with its source and its numbers, and our own of free widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .architecture import Architecture

_FINEST = 32  # channels at full resolution, above an encoder of timm


def _divided(widths: Sequence[int], divisor: int) -> tuple[int, ...]:
    return tuple(max(1, width // divisor) for width in widths)


def ronneberger2015(*, in_channels: int = 1, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """The original U-Net: 23 unpadded convolution layers, 572 -> 388 pixels, 31,030,658 parameters.

    Two 3x3 convolutions per level without padding, 2x2 max-pooling, 2x2 up-convolutions,
    cropped skips, drop-out at the end of the contracting path (its rate, 0.5, is that of
    the released net; the paper prints none), no normalisation.

    Parameters
    ----------
    in_channels, out_channels : int
    width_divisor : int
        Divides every width, to fit a smaller budget: 4 gives 16 to 256 channels. The same for all nets below.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image
       Segmentation, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, section 2 and fig. 1
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=_divided((64, 128, 256, 512, 1024), width_divisor),
        padding="valid",
        norm="none",
        dropout=0.5,
    )


def cicek2016(*, in_channels: int = 1, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """The 3D U-Net: 132 x 132 x 116 -> 44 x 44 x 28 voxels; channels double already before pooling.

    19,069,955 parameters for 3 channels in and out, as the paper counts: no bias of the up-convolutions, one number
    per channel of batch norm. Batch norm before each ReLU; the up-convolutions keep the channels.

    References
    ----------
    .. [1] Cicek, Abdulkadir, Lienkamp, Brox, Ronneberger, 3D U-Net, MICCAI 2016, doi:10.1007/978-3-319-46723-8_49
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        ndim=3,
        widths=_divided((64, 128, 256, 512), width_divisor),
        widen="last",
        up_keeps_channels=True,
        padding="valid",
    )


def milletari2016(*, in_channels: int = 1, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """V-Net: 5x5x5 convolutions, one to three per stage, whose input is added to their result; strided convolutions.

    PReLU throughout and no norm, 2x2x2 convolutions of stride 2 down and transposed ones up, decoder stages as wide as
    their input. Where the paper adds the one-channel image to 16 maps, a 1x1x1 convolution projects it.

    References
    ----------
    .. [1] Milletari, Navab, Ahmadi, V-Net, 3DV 2016, doi:10.1109/3DV.2016.79, section 2 and fig. 2
    """
    widths = _divided((16, 32, 64, 128, 256), width_divisor)
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        ndim=3,
        widths=widths,
        decoder_widths=tuple(2 * width for width in widths[:-1]),
        block="residual",
        convolutions=(1, 2, 3, 3, 3),
        kernels=5,
        down="strided",
        norm="none",
        activation="prelu",
    )


_TIRAMISU = {  # layers per dense block from the finest to the bottleneck, and growth rate (Jegou 2017, table 2)
    56: ((4, 4, 4, 4, 4, 4), 12),
    67: ((5, 5, 5, 5, 5, 5), 16),
    103: ((4, 5, 7, 10, 12, 15), 16),
}


def jegou2017(
    *, in_channels: int = 3, out_channels: int = 11, width_divisor: int = 1, layers: int = 103
) -> Architecture:
    """FC-DenseNet, "the one hundred layers Tiramisu": 9,322,091 parameters (103 layers, 3 channels, 11 classes).

    Dense blocks of growth 16 (12 for 56 layers) after a first convolution of 48 channels; transitions down of norm,
    ReLU, 1x1 convolution, drop-out 0.2 and max-pooling; transposed 3x3 convolutions up, of the new maps only. 67 layers
    have 3,463,243 parameters, 56 layers 1,376,795.

    Parameters
    ----------
    in_channels, out_channels, width_divisor : int
    layers : 56, 67 or 103

    Raises
    ------
    ValueError
        If the paper has no net of that many layers.

    References
    ----------
    .. [1] Jegou, Drozdzal, Vazquez, Romero, Bengio, The One Hundred Layers Tiramisu, CVPRW 2017, arXiv:1611.09326
    """
    if layers not in _TIRAMISU:
        raise ValueError(f"layers is {layers}; expected one of {', '.join(map(str, _TIRAMISU))}")
    counts, growth = _TIRAMISU[layers]
    growth = max(1, growth // width_divisor)
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=tuple(n * growth for n in counts),
        block="dense",
        convolutions=counts,
        down="transition",
        up="overlapping",
        up_keeps_channels=True,
        dropout=0.2,
        dropout_at="convolutions",
        stem=max(1, 48 // width_divisor),
    )


def zhang2018(*, in_channels: int = 3, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """Deep Residual U-Net: seven pre-activated residual units, 15 convolution layers, strided instead of pooled.

    Upsampling repeats pixels and has no weights of its own. The paper's loss, mean squared error of a sigmoid, is the
    trainer's choice, not the net's.

    References
    ----------
    .. [1] Zhang, Liu, Wang, Road Extraction by Deep Residual U-Net, IEEE GRSL 2018, doi:10.1109/LGRS.2018.2802944
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=_divided((64, 128, 256, 512), width_divisor),
        block="preactivation",
        down="first",
        up="nearest",
        up_keeps_channels=True,
    )


def oktay2018(*, in_channels: int = 1, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """Attention U-Net: 3D, 16 to 256 channels, every skip but the finest gated by the coarser decoder map.

    As the released code has it: batch norm, trilinear upsampling without weights, gates of the encoder's width. Its
    deep supervision is the trainer's (`training.deep_supervision`); its extra block before the deepest gate is omitted.

    References
    ----------
    .. [1] Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, MIDL 2018, arXiv:1804.03999
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        ndim=3,
        widths=_divided((16, 32, 64, 128, 256), width_divisor),
        skip="attention",
        up="linear",
        up_keeps_channels=True,
    )


def zhou2018(*, in_channels: int = 1, out_channels: int = 2, width_divisor: int = 1) -> Architecture:
    """UNet++ with deep supervision: four heads, pruned to L1 ... L4 by `prune`.

    1 channel in and out: 9,041,700 parameters with four heads, 9,041,601 with one; pruned 100,961, 511,105
    and 2,204,961. Drop-out 0.5 after each convolution, as in the authors' code.

    References
    ----------
    .. [1] Zhou, Siddiquee, Tajbakhsh, Liang, UNet++, DLMIA 2018, arXiv:1807.10165, fig. 1 and 3, table 2
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=_divided((32, 64, 128, 256, 512), width_divisor),
        topology="unet++",
        heads="all",
        norm="none",
        dropout=0.5,
        dropout_at="convolutions",
    )


PAPERS: dict[str, Callable[..., Architecture]] = {
    "ronneberger2015": ronneberger2015,
    "cicek2016": cicek2016,
    "milletari2016": milletari2016,
    "jegou2017": jegou2017,
    "jegou2017-67": partial(jegou2017, layers=67),
    "jegou2017-56": partial(jegou2017, layers=56),
    "zhang2018": zhang2018,
    "oktay2018": oktay2018,
    "zhou2018": zhou2018,
}

CONFIGURABLE: dict[str, dict[str, Any]] = {"unet": {}, "unet++": {"topology": "unet++", "heads": "all"}}
NAMES = (*CONFIGURABLE, *PAPERS)


def named(name: str, *, width_divisor: int | None = None, **options: Any) -> Architecture:
    """Look up an architecture by name.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    width_divisor : int, optional
        Divides the widths of a paper's net.
    **options
        Values of `Architecture` that replace the net's own. A paper's widths and axes are fixed; those of a net with an
        `encoder` of timm are the encoder's, where they are not stated.

    Raises
    ------
    ValueError
        If no net has the name, or an option does not go with it or is out of range.
    """
    if name not in NAMES:
        raise ValueError(f"no net is named {name!r}; expected {', '.join(NAMES)}")
    if name in CONFIGURABLE:
        if width_divisor is not None:
            raise ValueError(
                f"width_divisor is {width_divisor}, but {name} has no paper's widths to divide; give widths"
            )
        fields: dict[str, Any] = CONFIGURABLE[name] | options
        if fields.get("encoder") is not None and not {"widths", "strides"} & options.keys():
            from .pretrained import encoder_shape  # needs torch

            in_channels = fields.get("in_channels", Architecture.in_channels)
            fields = encoder_shape(fields["encoder"], in_channels=in_channels, width=_FINEST) | fields
        return Architecture(**fields)
    if "widths" in options:
        raise ValueError(
            f"widths are {tuple(options['widths'])}, but {name} has its paper's widths; give width_divisor instead"
        )
    if width_divisor is not None and width_divisor < 1:
        raise ValueError(f"width_divisor is {width_divisor}; expected 1 or more")
    paper = PAPERS[name](width_divisor=width_divisor or 1)
    if options.get("ndim", paper.ndim) != paper.ndim:
        raise ValueError(f"{name} is a {paper.ndim}D net, not one of {options['ndim']} spatial axes")
    return replace(paper, **options)
