"""Metadata of OME-Zarr (OME-NGFF): the array of the image at full resolution, and its axes.

Only the JSON of the folder is read here, of Zarr format 2 (OME-Zarr 0.1 to 0.4) and 3 (0.5); `array` reads the
arrays themselves. ::

    scan.ome.zarr/  zarr.json         a group: "multiscales" names the levels, largest first, with axes and pixel size
                    0/zarr.json       an array: the image at full resolution
                    1/zarr.json       an array: half as large
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...json_text import parse_json
from ..decoder_errors import Refused, check_inside

# By name, for axes without a type, as before OME-Zarr 0.4.
KINDS = {"x": "space", "y": "space", "z": "space", "c": "channel", "t": "time"}
BEFORE_AXES = "tczyx"  # OME-Zarr 0.1 and 0.2 had these five axes without naming them


@dataclass(frozen=True)
class Axis:
    """One axis of an array.

    Parameters
    ----------
    name : str
        As the file has it.
    letter : str
        "t", "c", "z", "y" or "x"; "" for one of another meaning.
    step : float
        Distance between neighbouring pixels in `unit`; NaN where the file states something else than a number.
    unit : str
        "" where the file does not say.
    start : float, optional
        Position of the first pixel in `unit`, where the file states a translation.
    """

    name: str
    letter: str
    step: float = 1.0
    unit: str = ""
    start: float | None = None


@dataclass(frozen=True)
class FullResolution:
    """The array of an image at full resolution.

    Parameters
    ----------
    name : str
        Path of the array below the folder of the image; "" where the folder is the array.
    axes : tuple of Axis, optional
        None where the file names none.
    notes : tuple of str
        Assumptions, for the user.
    """

    name: str
    axes: tuple[Axis, ...] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A group or array of a Zarr hierarchy.

    Parameters
    ----------
    is_array : bool
    attributes : dict
    names : tuple of str, optional
        Names of the axes of an array, where it has them without OME metadata.
    """

    is_array: bool
    attributes: dict[str, Any]
    names: tuple[str, ...] | None

    @property
    def ome(self) -> dict[str, Any]:
        """The OME metadata: from 0.5 on under a key of its own."""
        ome = self.attributes.get("ome")
        return ome if isinstance(ome, dict) else self.attributes


def full_resolution(root: Path) -> FullResolution:
    """Find the image of a folder.

    Parameters
    ----------
    root : Path
        A Zarr group with OME metadata, one that holds a single image (also as bioformats2raw does), or an array.

    Raises
    ------
    ValueError
        If there is no Zarr metadata, it is damaged, holds no image, or several (plate, well, collection): then with the
        name of one.
    """
    node = read_node(root)
    if node is None:
        raise Refused("a folder without zarr.json, .zgroup or .zarray: no Zarr hierarchy, or an incomplete copy of one")
    if node.is_array:
        if node.names is None:
            return FullResolution("", None)
        notes: list[str] = []
        axes = _axes(node.names, notes)
        return FullResolution("", axes, tuple(notes))
    if "plate" in node.ome or "well" in node.ome:
        raise Refused(_several(root, node.ome))
    if "multiscales" in node.ome:
        return _largest(node.ome, "")
    if "bioformats2raw.layout" in node.ome:
        return _only_image(root)
    children = {path.name: read_node(root, path.name) for path in sorted(root.iterdir()) if path.is_dir()}
    images = [name for name, child in children.items() if child is not None and "multiscales" in child.ome]
    if len(images) == 1:  # as acquire-zarr writes it
        below = _largest(children[images[0]].ome, images[0])  # type: ignore[union-attr]
        return replace(below, notes=(*below.notes, f"image {images[0]} below the root read"))
    if images:
        listed = ", ".join(images[:5])
        raise Refused(f"a group of {len(images)} images ({listed}): name one of them, such as {root.name}/{images[0]}")
    arrays = [name for name, child in children.items() if child is not None and child.is_array]
    held = f"of its arrays {', '.join(arrays[:5])} name one, such as {root.name}/{arrays[0]}" if arrays else "no arrays"
    raise Refused(f"a Zarr group without OME metadata (multiscales): {held}")


def read_node(root: Path, name: str = "") -> Node | None:
    """The group or array `name` below `root`; None where there is none.

    Raises
    ------
    ValueError
        If its JSON is damaged.
    """
    check_inside(name, root)
    folder = root / name
    if (folder / "zarr.json").is_file():
        metadata = _json(root, f"{name}/zarr.json")
        kind = metadata.get("node_type")
        if kind not in ("array", "group"):
            raise Refused(f"{_below(name, 'zarr.json')} with node_type {kind!r}: expected 'array' or 'group'")
        attributes = metadata.get("attributes")
        names = _names(metadata.get("dimension_names"))
        return Node(kind == "array", attributes if isinstance(attributes, dict) else {}, names)
    for file in (".zarray", ".zgroup"):
        if (folder / file).is_file():
            _json(root, f"{name}/{file}")
            attributes = _json(root, f"{name}/.zattrs") if (folder / ".zattrs").is_file() else {}
            return Node(file == ".zarray", attributes, _names(attributes.get("_ARRAY_DIMENSIONS")))
    return None


def _below(name: str, file: str) -> str:
    return f"{name}/{file}".lstrip("/")


def _json(root: Path, name: str) -> dict[str, Any]:
    name = name.lstrip("/")
    try:
        content = parse_json((root / name).read_bytes())
    except ValueError as error:  # not UTF-8, or not JSON
        raise Refused(f"{name} is not JSON, damaged or truncated ({error})") from None
    if not isinstance(content, dict):
        raise Refused(f"{name} holds {type(content).__name__} {str(content)[:40]!r}: expected a JSON object")
    return content


def _names(names: object) -> tuple[str, ...] | None:
    """Names of dimensions, where all have one."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        return None
    return tuple(names)


def _several(root: Path, ome: dict[str, Any]) -> str:
    """The reason why a plate or a well is not read, with the name of one of its images."""
    plate = ome.get("plate")
    wells = _paths(plate.get("wells")) if isinstance(plate, dict) else []
    well = read_node(root, wells[0]) if wells else None
    inside = (well.ome if well else {}) if wells else ome
    images = _paths(inside["well"].get("images")) if isinstance(inside.get("well"), dict) else []
    title = f"a plate of {len(wells)} wells" if isinstance(plate, dict) else f"a well of {len(images)} images"
    example = "/".join([root.name, *wells[:1], *(images[:1] or ["0"])])
    return f"{title}: expected one image; name one of them, such as {example}"


def _only_image(root: Path) -> FullResolution:
    """The only image of bioformats2raw: groups 0, 1, ..., or those that OME/ lists as series."""
    listed = read_node(root, "OME")
    series = listed.ome.get("series") if listed else None
    images = [str(path) for path in series] if isinstance(series, list) else []
    while not isinstance(series, list) and read_node(root, str(len(images))) is not None:
        images.append(str(len(images)))
    if len(images) != 1:
        such = f": name one, such as {root.name}/{images[0]}" if images else ""
        raise Refused(f"a collection of bioformats2raw with {len(images)} images, expected one{such}")
    node = read_node(root, images[0])
    if node is None or "multiscales" not in node.ome:
        raise Refused(f"a collection of bioformats2raw whose image {images[0]} is missing or has no multiscales")
    return _largest(node.ome, images[0])


def _paths(entries: object) -> list[str]:
    """The paths of a list of objects."""
    listed = entries if isinstance(entries, list) else []
    return [entry["path"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("path"), str)]


def _largest(ome: dict[str, Any], prefix: str) -> FullResolution:
    """The first level of the first image that a group describes."""
    images = ome["multiscales"]
    first = images[0] if isinstance(images, list) and images else None
    levels = first.get("datasets") if isinstance(first, dict) else None
    paths = _paths(levels)
    if not isinstance(first, dict) or not isinstance(levels, list) or not paths:
        raise Refused(f"multiscales without datasets, so that no level is named: {str(images)[:80]}")
    version = ome.get("version", first.get("version"))
    names = first.get("axes", list(BEFORE_AXES) if version in ("0.1", "0.2") else None)
    if not isinstance(names, list) or not names:
        raise Refused(
            f"multiscales of version {version!r} that name no axes: expected OME-Zarr 0.4 or 0.5; convert it, or name "
            f"the array itself, such as {paths[0]}"
        )
    transforms = levels[0].get("coordinateTransformations"), first.get("coordinateTransformations")
    scales = _product(*transforms, len(names))
    starts = _translation(*transforms, len(names))
    notes = [f"first of {len(images)} multiscale images read"] if len(images) > 1 else []
    axes = _axes(names, notes, scales)
    if starts is not None:
        axes = tuple(replace(axis, start=start) for axis, start in zip(axes, starts, strict=True))
    return FullResolution(_below(prefix, paths[0]), axes, tuple(notes))


def _product(own: object, of_all: object, count: int) -> list[float] | None:
    """Pixel size along every axis: the scale of a level times that of all levels; None where neither is stated."""
    scales = [
        transform.get("scale")
        for listed in (own, of_all)
        for transform in (listed if isinstance(listed, list) else [])
        if isinstance(transform, dict) and transform.get("type") == "scale"
    ]
    rows = [scale if isinstance(scale, list) and len(scale) == count else [math.nan] * count for scale in scales]
    numbers = [[float(step) if isinstance(step, int | float) else math.nan for step in row] for row in rows]
    return [math.prod(steps) for steps in zip(*numbers, strict=True)] if numbers else None


def _translation(own: object, of_all: object, count: int) -> list[float] | None:
    """Position of the first pixel: what the transformations of a level, then those of all, make of index 0."""
    place, is_stated = [0.0] * count, False
    for listed in (own, of_all):
        for transform in listed if isinstance(listed, list) else []:
            kind = transform.get("type") if isinstance(transform, dict) else None
            values = transform.get(kind) if kind in ("scale", "translation") else None
            if not isinstance(values, list) or len(values) != count:
                continue
            numbers = [float(value) if isinstance(value, int | float) else math.nan for value in values]
            pairs = zip(place, numbers, strict=True)
            place = [at * step for at, step in pairs] if kind == "scale" else [at + by for at, by in pairs]
            is_stated |= kind == "translation"
    return place if is_stated and all(map(math.isfinite, place)) else None


def _axes(stated: Sequence[object], notes: list[str], scales: list[float] | None = None) -> tuple[Axis, ...]:
    """Axes of an array with their letters, and their pixel size if known."""
    entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in stated]
    names = [str(entry.get("name", "")) for entry in entries]
    kinds = [str(entry.get("type") or KINDS.get(name.lower())) for entry, name in zip(entries, names, strict=True)]
    space = [name.lower() for name, kind in zip(names, kinds, strict=True) if kind == "space"]
    if len(space) not in (2, 3):
        raise Refused(f"axes {', '.join(names)}: expected 2 or 3 of them in space, got {len(space)}")
    usual = list("zyx"[-len(space) :])
    if sorted(space) != sorted(usual):
        notes.append(f"axes {', '.join(space)} taken to be {', '.join(usual)}")
        space = usual
    letters = iter(space)
    axes = []
    for index, (entry, name, kind) in enumerate(zip(entries, names, kinds, strict=True)):
        letter = next(letters) if kind == "space" else {"channel": "c", "time": "t"}.get(kind, "")
        unit = str(entry.get("unit") or "") if scales else ""
        axes.append(Axis(name, letter, scales[index] if scales else 1.0, unit))
    return tuple(axes)
