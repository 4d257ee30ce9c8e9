"""LIF files for tests: the header in XML and blocks of memory, as Leica's files have them."""

import struct
from pathlib import Path

import numpy as np

_IDS = {"x": 1, "y": 2, "z": 3, "t": 4, "m": 10}


def write_lif(
    path: Path, images: dict[str, tuple[np.ndarray, str]], *, lengths: dict[str, float] | None = None
) -> Path:
    """Write arrays {name: (array, axes)} with axes such as "czyx" or "yxs", whose last one varies fastest.

    `lengths` are those from the middle of the first pixel to that of the last, in metres.
    """
    elements, blocks = [], []
    for number, (name, (array, axes)) in enumerate(images.items()):
        steps = dict(zip(axes, array.strides, strict=True))
        channel = next((axis for axis in axes if axis in "cs"), None)
        n_channels = array.shape[axes.index(channel)] if channel else 1
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="{3 - c if channel == "s" else 0}" '
            f'Resolution="{8 * array.itemsize}" NameOfMeasuredQuantity="" Min="0" Max="255" Unit="" LUTName="Gray" '
            f'IsLUTInverted="0" BytesInc="{c * steps[channel] if channel else 0}" BitInc="0"/>'
            for c in range(n_channels)
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{_IDS[axis]}" NumberOfElements="{array.shape[axes.index(axis)]}" Origin="0" '
            f'Length="{(lengths or {}).get(axis, 0)}" Unit="m" BitInc="0" BytesInc="{steps[axis]}"/>'
            for axis in reversed(axes)
            if axis not in "cs"
        )
        elements.append(
            f'<Element Name="{name}" Visibility="1"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{array.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        blocks.append(_block(f"MemBlock_{number}", array))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Children>'
        f"{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    header = struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2)
    path.write_bytes(header + xml + b"".join(blocks))
    return path


def _block(name: str, array: np.ndarray) -> bytes:
    words = name.encode("utf-16-le")
    head = struct.pack("<IIBQBI", 0x70, len(words) + 14, 0x2A, array.nbytes, 0x2A, len(name))
    return head + words + array.tobytes()
