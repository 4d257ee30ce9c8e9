"""Label images of OME-Zarr: those that an image holds, and the names that one states of its values."""

from __future__ import annotations

from pathlib import Path

from ..decoder_errors import check_inside
from .metadata import read_node

# Of a property that names a class: the specification has "class" in its example, programs write the others.
_NAMES = ("class", "name", "label", "label-name")


def label_images(root: Path) -> list[Path]:
    """The label images that an OME-Zarr image holds in its group `labels`, as their list there has them."""
    group = read_node(root, "labels")
    names = group.ome.get("labels") if group is not None else None
    listed = [f"labels/{name}" for name in names] if isinstance(names, list) else []
    for name in listed:
        check_inside(name, root)
    return [root / name for name in listed]


def label_names(root: Path) -> dict[int, str]:
    """Names of the values of a label image, as the properties of its `image-label` state them."""
    node = read_node(root)
    stated = node.ome.get("image-label") if node is not None else None
    properties = stated.get("properties") if isinstance(stated, dict) else None
    names: dict[int, str] = {}
    for entry in properties if isinstance(properties, list) else []:
        value = entry.get("label-value") if isinstance(entry, dict) else None
        name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), "") if value is not None else ""
        if isinstance(value, int) and value >= 0 and name.strip():
            names[value] = name.strip()
    return names
