"""Nets as their papers print them: each one short function with its source and its numbers."""

from __future__ import annotations

from collections.abc import Callable

from .unet import Architecture


def ronneberger2015(*, in_channels: int = 1, out_channels: int = 2, divide_width: int = 1) -> Architecture:
    """The original U-Net: 23 unpadded convolution layers, 572 -> 388 pixels, 31,030,658 parameters.

    Two 3x3 convolutions per level without padding, 2x2 max-pooling, 2x2 up-convolutions,
    cropped skips, drop-out at the end of the contracting path (its rate, 0.5, is that of
    the released net; the paper prints none), no normalisation.

    Parameters
    ----------
    in_channels, out_channels : int
    divide_width : int
        Divides every width, to fit a smaller budget: 4 gives 16 to 256 channels.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image
       Segmentation, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, section 2 and fig. 1
    """
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        widths=tuple(max(1, width // divide_width) for width in (64, 128, 256, 512, 1024)),
        padding="valid",
        norm="none",
        dropout=0.5,
    )


PAPERS: dict[str, Callable[..., Architecture]] = {"ronneberger2015": ronneberger2015}
