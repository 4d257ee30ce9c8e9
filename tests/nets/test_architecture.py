"""The table of a net: what cannot be is refused, with the reason."""

import json
from typing import Any

import pytest

from unetkit.nets.architecture import Architecture
from unetkit.nets.papers import PAPERS

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"topology": "unet+"}, r"topology is 'unet\+'; expected one of unet, unet\+\+"),
    ({"block": "resnet"}, "block is 'resnet'; expected one of plain, residual, preactivation, dense"),
    ({"skip": "sum"}, "skip is 'sum'; expected one of concat, reduce, add, attention, none"),
    ({"down": "average"}, "down is 'average'; expected one of max, strided, first, blur, transition"),
    ({"activation": "gelu"}, "activation is 'gelu'; expected one of relu, leaky_relu, prelu"),
    ({"widen": "both"}, "widen is 'both'; expected one of first, last"),
    ({"dropout_at": "top"}, "dropout_at is 'top'; expected one of bottom, convolutions"),
    ({"heads": "two"}, "heads is 'two'; expected one of last, all"),
    ({"convolutions": 0}, "convolutions are 0; expected one whole number from 1 to 1000, or 3, one per level"),
    ({"convolutions": 65536}, "convolutions are 65536; expected one whole number from 1 to 1000"),
    ({"convolutions": (2, 2)}, r"convolutions are \(2, 2\); expected one whole number from 1 to 1000, or 3"),
    ({"decoder_widths": (4,)}, r"decoder_widths are \(4,\); expected 2, one per pooling"),
    ({"stem": -1}, "stem is -1; expected the channels of a first convolution, or 0"),
    ({"padding": "valid", "up": "linear"}, 'up="linear" repeats the edge pixel .* promises not to do: use up="transp'),
    ({"padding": "valid", "up": "overlapping"}, 'up="overlapping" misses the neighbour .* use up="transposed"'),
    ({"padding": "valid", "down": "blur"}, 'down="blur" repeats the edge pixel .* use down="max" or down="strided"'),
    ({"padding": "valid", "down": "first"}, 'down="first" puts its outputs half a pixel off'),
    ({"topology": "unet++", "skip": "none"}, 'skip="none" leaves nothing of it: use topology="unet"'),
    ({"heads": "all"}, r'heads="all" belongs to topology="unet\+\+"'),
    ({"icnr": True, "up": "nearest"}, 'icnr=True starts transposed convolutions, but up is "nearest"'),
    ({"down": "blur", "strides": 3}, 'down="blur" halves; strides are'),
    ({"block": "dense", "convolutions": 3}, "a dense block of 3 layers cannot add 4 channels: .* multiples of 3"),
]


@pytest.mark.parametrize("options, message", REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_what_has_no_meaning_is_refused_with_the_reason(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**{"widths": (4, 6, 9), **options})


@pytest.mark.parametrize("name", PAPERS)
def test_an_architecture_survives_json(name: str) -> None:
    architecture = PAPERS[name]()
    again = Architecture(**json.loads(json.dumps(architecture.to_dict())))
    assert again == architecture
    assert hash(again) == hash(architecture)
