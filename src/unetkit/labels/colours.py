"""The palette of classes, and colour tables of masks."""

from __future__ import annotations

import numpy as np

from .kind import LabelKind, written_values

__all__ = ["COLOURS", "class_colour", "colour_table"]

# Okabe and Ito's palette, told apart by colour-blind readers as well; background first.
COLOURS = np.array(
    [
        (0, 0, 0),
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    dtype=np.uint8,
)


def class_colour(index: int) -> np.ndarray:
    """Red, green and blue of a class, uint8; the eighth class has the colour of the first, and so on."""
    return COLOURS[0 if index == 0 else 1 + (index - 1) % (len(COLOURS) - 1)]


def colour_table(kind: LabelKind) -> np.ndarray:
    """Make the table of colours of the values in masks of a kind, for files that keep such a table.

    Returns
    -------
    ndarray of shape (256, 3), uint8
        White for values that no class has.
    """
    table = np.full((256, 3), 255, np.uint8)
    for index, value in enumerate(written_values(kind)):
        if 0 <= value < 256:
            table[value] = class_colour(index)
    return table
