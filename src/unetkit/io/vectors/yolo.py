"""YOLO's polygons: a text file for every image, a line for every object, coordinates as shares of width and height.

Corners are the middles of pixels, whole numbers after rounding down, and the pixels below an outline belong to the
object, as Ultralytics 8 reads them (by `cv2.fillPoly`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from ..decoder_errors import Refused
from ..grid import Grid
from .labelme import check_size, window_of
from .shapes import Outline, Shapes, Stamp, text_of

_NAMES, _CONFIGURATIONS = ("classes.txt", "obj.names", "labels.txt"), ("data.yaml", "dataset.yaml", "data.yml")
_ABOVE = 3  # folders in which the names of classes are looked for: labels/train/a.txt, data.yaml
_MOST_CONFIGURATION = 2**20
_DECIMALS = 0.01  # pixels by which six decimals miss a whole number in wide images
_OUTSIDE = 0.01


def of_yolo(path: Path, grid: Grid) -> Shapes:
    """The polygons of a file; boxes are refused."""
    check_size(None, None, grid)
    names, notes = _class_names(path)
    outlines = []
    try:
        lines = text_of(path).decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise Refused("not a text file of YOLO: expected numbers, a line for every object") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        index, points = _numbers(line, f"line {number}")
        name = names.get(index, f"class {index}")
        if names and index not in names:
            raise Refused(f"line {number}: class {index}, but the names are of {len(names)} classes")
        stamp = _stamp(points * (grid.size[1], grid.size[0]), grid.size, f"line {number}")
        outlines.append(Outline(stamp=stamp, name=name, part_of=str(number)))
    return Shapes(outlines, notes=notes)


def _numbers(line: str, where: str) -> tuple[int, np.ndarray]:
    """Class and points of an object."""
    try:
        numbers = np.array(line.split(), float)
    except ValueError:
        raise Refused(f"{where}: {line.strip()[:40]!r} are not numbers: expected a class and x1 y1 x2 y2 ...") from None
    if len(numbers) in (5, 6):
        raise Refused(f"{where}: a box (class, x, y, width, height), not an outline: its pixels are not known")
    if len(numbers) < 7 or len(numbers) % 2 == 0:
        raise Refused(f"{where}: {len(numbers)} numbers: expected a class and three or more pairs x y")
    index, points = numbers[0], numbers[1:].reshape(-1, 2)
    if not (np.isfinite(index) and index >= 0 and index == int(index)):
        raise Refused(f"{where}: class {index:g}: expected a whole number from 0 on")
    if not ((points >= -_OUTSIDE) & (points <= 1 + _OUTSIDE)).all():
        raise Refused(f"{where}: coordinates from {points.min():g} to {points.max():g}: expected shares from 0 to 1")
    return int(index), points


def _stamp(points: np.ndarray, size: tuple[int, ...], where: str) -> Stamp | None:
    corners = np.clip(np.floor(points + _DECIMALS), 0, (size[1] - 1, size[0] - 1))
    window = window_of(corners, size, where)
    if window is None:
        return None
    top, left, height, width = window
    picture = Pillow.new("1", (width, height))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in corners - (left, top)], outline=1, fill=1)
    return Stamp(np.array(picture, bool), (top, left))


def _class_names(path: Path) -> tuple[dict[int, str], list[str]]:
    """Names of the classes, of classes.txt or data.yaml beside a file or above it, and notes."""
    folders = [path.parent, *path.parent.parents][: _ABOVE + 1]
    for folder in folders:
        for file in (folder / name for name in (*_NAMES, *_CONFIGURATIONS)):
            if not file.is_file() or file == path:
                continue
            if file.name in _CONFIGURATIONS:
                names, note = _of_configuration(file)
            else:
                lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
                names, note = dict(enumerate(line for line in lines if line)), ""
            if names or note:
                return names, [note or f"names of the classes of {file.name}"]
    return {}, ["no data.yaml or classes.txt near: classes are called by their numbers"]


def _of_configuration(file: Path) -> tuple[dict[int, str], str]:
    try:
        import yaml
    except ImportError:
        return {}, f"{file.name} is not read, since PyYAML is not installed: classes are called by their numbers"
    if file.stat().st_size > _MOST_CONFIGURATION:
        raise Refused(f"{file}: {file.stat().st_size} bytes, too large for names of classes")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: is not YAML ({' '.join(str(error).split())[:80]})") from None
    content = content if isinstance(content, dict) else {}
    if content.get("kpt_shape"):
        raise Refused(f"{file} describes keypoints (kpt_shape): expected polygons")
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        return {}, ""
    return {key: str(name) for key, name in names.items()}, ""
