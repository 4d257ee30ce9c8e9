"""Suffixes and stems of images, what names of an image and its mask share, images within a file, folders as images."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from .dicom.headers import holds_series

PNG_SUFFIXES, JPEG_SUFFIXES, TIFF_SUFFIXES = (".png",), (".jpg", ".jpeg"), (".tif", ".tiff")
JPEG2000_SUFFIXES = (".jp2", ".j2k")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
ZARR_SUFFIXES = (".zarr",)  # folders
SUFFIXES = (*PNG_SUFFIXES, *JPEG_SUFFIXES, *TIFF_SUFFIXES, *NIFTI_SUFFIXES, *ZARR_SUFFIXES)
# Outlines of objects, drawn on their image: GeoJSON, COCO, LabelMe, GeoPackage, shapefiles, ImageJ, YOLO (io.vectors).
OUTLINE_SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".roi", ".zip", ".txt")
# Files that state something about masks, and are none.
STATEMENTS = ("labels.json", "dataset.json", "classes.txt", "labels.txt")
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
# Words by which programs tell a mask from its image: Cellpose, StarDist, ilastik, QuPath, LabelMe, DRIVE, nnU-Net.
_MASK_WORDS = (
    r"cp[ _]masks?|masks?|labels?|labell?ed|label[ _-]?image|segmentations?|simple[ _]segmentation|seg|gt|"
    r"ground[ _-]?truth|annotations?|manual\d?|object[ _](identities|predictions)"
)
_MASK_ENDING, _MASK_START = (re.compile(rf"[ _.-]({_MASK_WORDS})$"), re.compile(rf"^({_MASK_WORDS})[ _.-]"))
# A scene of a file that holds several images: slide.czi#2. Scenes of CZI, images of LIF, positions of ND2. And a time
# point of it: slide.czi#2#t3.
_SCENE = re.compile(r"(.+\.(?:czi|lif|nd2))#([1-9]\d{0,5})(?:#t([1-9]\d{0,6}))?", re.IGNORECASE)
# A time point of a file that holds a series: film.tif#t3. Arrays within a Zarr hierarchy have no suffix.
_OF_TIMES = r"tiff?|nii|nii\.gz|zarr|czi|lif|nd2|h5|hdf5|geojson|json|roi|zip"
_TIME = re.compile(rf"(.+\.(?:{_OF_TIMES})|[^.]+)#t([1-9]\d{{0,6}})", re.IGNORECASE)
_PART = re.compile(r"(.+?)(?:#(t?)(\d+)|[ _.-](t)(\d+))")
_IMAGE_ENDING, _IMAGE_START = re.compile(r"[ _.-](image|img|raw|sat)$"), re.compile(r"^(images?|imgs?|raw|sat)[ _.-]")


def suffix_of(path: Path) -> str:
    """Suffix in lower case with its dot, "" where there is none.

    Examples
    --------
    >>> suffix_of(Path("a.TIF")), suffix_of(Path("a.nii.gz")), suffix_of(Path("a.ome.zarr")), suffix_of(Path("a.czi#2"))
    ('.tif', '.nii.gz', '.zarr', '.czi')
    """
    file = file_of(path)
    return ".nii.gz" if file.name.lower().endswith(".nii.gz") else file.suffix.lower()


def file_of(path: Path) -> Path:
    """The file or folder that holds an image: the path itself, unless it names a scene or a time point.

    Examples
    --------
    >>> file_of(Path("a.czi#2")).name, file_of(Path("a.tif#t3")).name, file_of(Path("a#2.png")).name
    ('a.czi', 'a.tif', 'a#2.png')
    >>> file_of(Path("a.czi#2#t3")).name
    'a.czi'
    """
    part = _SCENE.fullmatch(path.name) or _TIME.fullmatch(path.name)
    return path.with_name(part[1]) if part else path


def scene_of(path: Path) -> int:
    """The number of the scene that a path names, from 1 on; 0 where it names a file."""
    scene = _SCENE.fullmatch(path.name)
    return int(scene[2]) if scene else 0


def time_of(path: Path) -> int:
    """The number of the time point that a path names, from 1 on; 0 where it names a file."""
    scene, time = _SCENE.fullmatch(path.name), _TIME.fullmatch(path.name)
    return int((scene[3] or 0) if scene else time[2] if time else 0)


def is_part(path: Path) -> bool:
    """Whether a path names one of several images in a file: a scene, or a time point."""
    return bool(scene_of(path) or time_of(path))


def name_of(path: Path) -> str:
    """Name of an image without its suffix; a scene, and a time point, keeps its number.

    Examples
    --------
    >>> name_of(Path("a.ome.tif")), name_of(Path("a.czi#2")), name_of(Path("a.ome.tif#t3")), name_of(Path("a.nd2#2#t3"))
    ('a.ome', 'a#2', 'a#t3.ome', 'a#2#t3')
    """
    file = file_of(path).name
    name = file[: len(file) - len(suffix_of(path))]
    stem = name.removesuffix(".ome")
    number, time = scene_of(path), time_of(path)
    part = (f"#{number}" if number else "") + (f"#t{time}" if time else "")
    return stem + part + name[len(stem) :]  # before the .ome, so that a mask of this name is an OME-TIFF too


def is_outlines(path: Path) -> bool:
    """Whether a file is read as outlines, by its suffix."""
    return suffix_of(path) in OUTLINE_SUFFIXES


def stem_of(path: Path) -> str:
    """File name without its suffix, nor the .ome before it.

    Examples
    --------
    >>> stem_of(Path("a.nii.gz")), stem_of(Path("a.ome.tif")), stem_of(Path("a.ome.zarr")), stem_of(Path("slide.1.png"))
    ('a', 'a', 'a', 'slide.1')
    """
    return name_of(path).removesuffix(".ome")


def name_key(stem: str) -> str:
    """A stem without regard to capitals and to the way in which accents are stored, which systems change on copying.

    Examples
    --------
    >>> name_key("Z\u00fcrich") == name_key("zu\u0308rich")
    True
    """
    return unicodedata.normalize("NFC", stem).casefold()


def mask_keys(stem: str) -> list[str]:
    """Names of an image that a mask of this stem may belong to, the likeliest first: its own comes before all.

    Examples
    --------
    >>> mask_keys("a7_cp_masks"), mask_keys("mask_7"), mask_keys("b_Simple Segmentation")
    (['a7_cp_masks', 'a7'], ['mask_7', '7'], ['b_simple segmentation', 'b'])
    >>> mask_keys("film_t003"), mask_keys("film_mask#t3")  # of a time point
    (['film_t003', 'film#t3'], ['film_mask#t3', 'film#t3'])
    """
    return _keys(stem, _MASK_ENDING, _MASK_START, may_be_named=True)


def image_keys(stem: str) -> list[str]:
    """Names that an image shares with its mask, the likeliest first; a scene's number may follow an underscore too.

    Examples
    --------
    >>> image_keys("a7_img"), image_keys("image_7"), image_keys("a#2")
    (['a7_img', 'a7'], ['image_7', '7'], ['a#2', 'a_2'])
    """
    keys = _keys(stem, _IMAGE_ENDING, _IMAGE_START)
    return list(dict.fromkeys([*keys, re.sub(r"#(\d+)$", r"_\1", keys[0])]))


def _keys(stem: str, *affixes: re.Pattern[str], may_be_named: bool = False) -> list[str]:
    key = name_key(stem)
    keys = [key, *(affix.sub("", key) for affix in affixes)]
    # Affixes may stand before the number of a scene or time point, which of a mask alone may be part of its name.
    for part in [match for each in keys if (match := _PART.fullmatch(each))]:
        base, kind, number, named, own = part.groups()
        if number or may_be_named:
            ending = f"#{kind}{number}" if number else f"#{named}{int(own)}"
            keys += [each + ending for each in (base, *(affix.sub("", base) for affix in affixes)) if each]
    return list(dict.fromkeys(filter(None, keys)))


def holds_zarr(path: Path) -> bool:
    """Whether a folder is a group or an array of a Zarr hierarchy, by its content."""
    return any((file_of(path) / name).is_file() for name in ZARR_FILES)


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder that is read as one image: a Zarr hierarchy, or the slices of one DICOM series.

    Or as several images that are time points of a Zarr hierarchy; the path may name one.
    """
    folder = file_of(path)
    return folder.is_dir() and (suffix_of(folder) in ZARR_SUFFIXES or holds_zarr(folder) or holds_series(folder))
