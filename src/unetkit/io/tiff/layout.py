"""TIFF and OME-TIFF: the meaning of the axes of a file, and all samples channels first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from ...georeference import GeoReference
from ..decoder_errors import Refused, decoding, logged
from ..filenames import file_of, time_of
from ..lazy import Region
from ..read_options import AS_STATED, ReadOptions
from ..samples import Colour, Stored
from ..sidecars import LERC, gdal_reader, with_sidecars
from ..spacing import ome_sizes, pixel_size
from .geotags import read_georeference
from .segments import JPEG, page_lengths, region_reader
from .validity import MASK, Validity, alpha_of, mask_file, mask_page

# TIFF 6.0 tags, and their values
COLOUR_MAP, ORIENTATION = 320, 274
MIN_IS_WHITE, RGB, PALETTE, CMYK, YCBCR = 0, 2, 3, 5, 6
GRAY_KINDS = (MIN_IS_WHITE, 1, 4)
# Attributes of a page that are one whole number each, unless its tags are damaged: tifffile does not check them.
WHOLE = ("imagewidth", "imagelength", "rowsperstrip", "tilewidth", "tilelength", "compression", "photometric")


@dataclass(frozen=True)
class Layout:
    """Positions of channels and space among the axes of a TIFF series.

    Parameters
    ----------
    letters : str
        The axes longer than one, in the order of the file: some of T (time), C (channel), S (sample of a pixel), Z, Y,
        X.
    lengths : tuple of int
        Their lengths.
    spatial : "yx" or "zyx"
    """

    letters: str
    lengths: tuple[int, ...]
    spatial: str

    def length(self, letter: str) -> int:
        """Length of an axis; 1 where the file has none."""
        return self.lengths[self.letters.index(letter)] if letter in self.letters else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the samples, channels first."""
        return self.length("C") * self.length("S"), *(self.length(letter.upper()) for letter in self.spatial)

    def arranged(self, stored: np.ndarray) -> np.ndarray:
        """Transpose an array of the axes `letters`, or a region of them, to (samples, *spatial), at one time."""
        lengths = dict(zip(self.letters, stored.shape, strict=True))
        ordered = stored.transpose([self.letters.index(letter) for letter in "TCSZYX" if letter in self.letters])
        space = tuple(lengths.get(letter.upper(), 1) for letter in self.spatial)
        return ordered.reshape(lengths.get("C", 1) * lengths.get("S", 1), *space)


class TiffImage:
    """The first image of a TIFF at full resolution, opened and checked; its samples are not read yet.

    Parameters
    ----------
    path : Path
        Which may name a time point: film.tif#t3.
    options : ReadOptions
        Axes, where the file does not name them or those that it names cannot be read; channels, of which none is alpha.

    Raises
    ------
    ValueError
        If the file is damaged or truncated, or its axes are not those of one image.
    """

    def __init__(self, path: Path, options: ReadOptions = AS_STATED) -> None:
        notes: list[str] = []
        time, path = time_of(path), file_of(path)
        self.time = slice(max(time - 1, 0), max(time, 1))
        self._mask_file: tifffile.TiffFile | None = None
        with decoding("TIFF"):
            file = tifffile.FileHandle(path)
        try:
            with decoding("TIFF"), logged("tifffile", notes):
                self.tif = _opened(file, notes)
                if not self.tif.series:
                    raise Refused("holds no image")
                self.series = self.tif.series[0]
                self.page = self.series.keyframe
                _check_numbers(self.page)
                _check_complete(self.tif, self.series)
                self.layout = _layout(self.tif, self.series, options, notes, time)
                self.is_gdals = int(self.page.compression) == LERC and np.dtype(self.series.dtype).kind == "f"
                self.read_stored = self._reader(path)
                self.colour = options.colour(_colour(self.page, self.layout, self.read_samples, notes))
                self.georeference = with_sidecars(path, read_georeference(self.page, notes), notes)
                self.validity = self._validity(path, notes)
                metres = self.georeference and self.georeference.spacing_m
                if metres and self.layout.spatial == "yx":  # a map in metres
                    size: tuple[tuple[float, ...], str, list[str]] = metres, "m", []
                else:
                    size = pixel_size(self.tif, self.layout.spatial)
                self.spacing, self.unit, assumed = size
                self.is_lossy = int(self.page.compression) in JPEG
                orientation = self.page.tags.valueof(ORIENTATION, default=1)
        except BaseException:
            file.close()
            if self._mask_file is not None:
                self._mask_file.close()
            raise
        self._file = file
        images = sum(not int(series.keyframe.subfiletype) & MASK for series in self.tif.series)
        if images > 1:
            notes.append(f"first of {images} image series read")
        if orientation != 1:
            notes.append(f"TIFF orientation {orientation} not applied: pixels in stored order")
        self.notes = tuple(dict.fromkeys(notes + assumed))

    def read_samples(self, region: Region) -> np.ndarray:
        """All samples of a region over space, as stored: (samples, *region)."""
        slices = dict(zip(self.layout.spatial.upper(), region, strict=True))
        slices |= {letter: slice(0, self.layout.length(letter)) for letter in "CS"} | {"T": self.time}
        return self.layout.arranged(self.read_stored(tuple(slices[letter] for letter in self.layout.letters)))

    def _reader(self, path: Path) -> Callable[[Region], np.ndarray]:
        """A function that reads regions over the axes of the layout."""
        if self.is_gdals:  # tifffile loses the gaps of floats in LERC, and scrambles interleaved bands that have some
            return gdal_reader(path, self.layout.letters)
        return region_reader(self.tif, self.series, self.layout.lengths)

    def _validity(self, path: Path, notes: list[str]) -> Validity | None:
        """Where a map holds data by a mask of its own; None where its values or nothing say so."""
        if self.layout.spatial != "yx":
            return None
        mask = mask_page(self.tif, self.series)
        if mask is None:
            size = self.page.imagelength, self.page.imagewidth
            mask, self._mask_file = mask_file(path, size, notes)
        if mask is not None:
            notes.append("a mask says where it holds data")
            self.georeference = self.georeference or GeoReference()
            return mask
        alpha, lies = self.colour.alpha, self.georeference
        if alpha is None or lies is None or lies.nodata is not None:  # nodata comes before alpha in GDAL
            return None
        return lambda region: self.read_samples(region)[alpha] != 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()  # and not through tifffile, which leaves open a file that was open before
        if self._mask_file is not None:
            self._mask_file.close()


def read_tiff(path: Path, options: ReadOptions = AS_STATED) -> Stored:
    """Read all samples of the first image of a TIFF, channels first."""
    tiff = TiffImage(path, options)
    try:
        notes: list[str] = []
        with decoding("TIFF"), logged("tifffile", notes):
            space = tuple(slice(0, length) for length in tiff.layout.shape[1:])
            if tiff.is_gdals or ("T" in tiff.layout.letters and can_slice(tiff)):
                array = tiff.read_samples(space)
            else:
                stored = tiff.series.asarray().reshape(tiff.layout.lengths)
                array = tiff.layout.arranged(
                    stored[tuple(tiff.time if letter == "T" else slice(None) for letter in tiff.layout.letters)]
                )
            valid = tiff.validity and tiff.validity(space)
    finally:
        tiff.close()
    notes = [*tiff.notes, *notes]
    return Stored(
        array,
        tiff.layout.spatial,
        tiff.colour,
        tiff.spacing,
        tiff.unit,
        tuple(notes),
        tiff.is_lossy,
        georeference=tiff.georeference,
        valid=valid,
    )


def can_slice(tiff: TiffImage) -> bool:
    """Whether the pages of a TIFF are the last axes of its image, as in all common layouts."""
    lengths, page = tiff.layout.lengths, page_lengths(tiff.page)
    stack = lengths[: len(lengths) - len(page)]
    is_whole = lengths[len(stack) :] == page and len(tiff.series) == math.prod(stack)
    is_mappable = tiff.series.dataoffset is not None and tiff.page.is_memmappable
    return tiff.series.transform is None and (is_whole or is_mappable)


def time_points(path: Path, *, are_told: bool = False) -> int:
    """Number of time points of the first image of a TIFF, as it states them; 1 where it does not.

    With `are_told`, its only pages without a stated axis count too, and else its planes: what `path#t1` is read from.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    notes: list[str] = []
    with decoding("TIFF"), tifffile.FileHandle(path) as file, logged("tifffile", notes):
        series = _opened(file, notes).series
        axes = [each for each in zip(series[0].axes, series[0].shape, strict=True) if each[1] > 1] if series else []
    for letters in ("T", "IQ", "Z") if are_told else ("T",):
        if counts := [int(n) for letter, n in axes if letter in letters]:
            return counts[0] if len(counts) == 1 else 1
    return 1


def _opened(file: tifffile.FileHandle, notes: list[str]) -> tifffile.TiffFile:
    """The file, read without its OME-XML where that describes another image, as crops keep that of the whole."""
    tif = tifffile.TiffFile(file)
    if "<!DOCTYPE" in (tif.ome_metadata or ""):  # the schema has none; entities can unpack to any size
        raise Refused("its OME-XML declares a document type, whose entities are not expanded: save it without")
    sizes = ome_sizes(tif)
    page = tif.pages.first if sizes else None
    if page is None or (page.imagelength, page.imagewidth) in sizes:
        return tif
    stated, own = (" x ".join(map(str, size)) for size in (sizes[0], (page.imagelength, page.imagewidth)))
    notes.append(f"its OME-XML describes an image of {stated} pixels, the file holds {own}: the OME-XML is not used")
    file.seek(0)
    return tifffile.TiffFile(file, is_ome=False)


def _check_numbers(page: tifffile.TiffPage) -> None:
    """Raise where a tag that is one whole number holds something else."""
    for name in WHOLE:
        value = getattr(page, name)
        if not isinstance(value, int):
            raise Refused(f"damaged: {name} is {str(value)[:40]!r}, expected a whole number")


def _check_complete(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Raise where planes are missing or data lies beyond the end of the file: tifffile would fill in zeros."""
    if series.is_multifile:
        raise Refused("one part of an OME-TIFF in several files: export it as one file")
    pages = list(series)
    present = [page for page in pages if page is not None]
    spans = [(page.dataoffsets, page.databytecounts) for page in present]
    if not all(isinstance(n, int) and n >= 0 for span in spans for numbers in span for n in numbers):
        raise Refused("damaged: the places of its strips or tiles are not whole numbers from 0 on")
    end = max((o + n for offsets, counts in spans for o, n in zip(offsets, counts, strict=False)), default=0)
    if series.dataoffset is not None:
        end = max(end, series.dataoffset + series.nbytes)
    size, segments = tif.filehandle.size, math.prod(series.keyframe.chunked)
    if len(present) < len(pages):
        raise Refused(f"truncated or incomplete: {len(pages) - len(present)} of {len(pages)} planes are missing")
    for index, span in enumerate(spans):
        if not series.keyframe.is_final and min(map(len, span)) < segments:
            raise Refused(f"damaged: page {index} has {min(map(len, span))} strips or tiles, expected {segments}")
    if end > size:
        raise Refused(f"truncated: its pixels reach to byte {end}, but the file has {size} bytes")


def _layout(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, options: ReadOptions, notes: list[str], time: int
) -> Layout:
    """Name the axes of the series; pages without a name are planes, or times where one is asked for."""
    # Whether axes of length 1 are among them depends on the version of tifffile: they are left out here.
    pairs = [(letter, length) for letter, length in zip(series.axes, series.shape, strict=True) if length != 1]
    letters, lengths = "".join(letter for letter, _ in pairs), tuple(length for _, length in pairs)
    listed = ", ".join(f"{letter}: {length}" for letter, length in pairs)
    if 0 in lengths:
        raise Refused(f"holds no pixels (axes {listed})")
    if time:
        if options.axes and len(set(letters)) != len(letters):
            letters = _told_letters(options, letters, lengths, series.shape)
        letters = _with_times(letters, lengths, time, listed, notes)
    elif "t" in options.axes and set(letters) & set("IQZ"):
        raise Refused(
            f"axes {listed}: told to be a series over time ({options.axes}): name one time point, such as "
            f"{tif.filehandle.name}#t1, or the folder that holds the file for all of them"
        )
    elif options.axes and (set(letters) - set("CSZYX") or len(set(letters)) != len(letters)):
        letters = _told_letters(options, letters, lengths, series.shape)
        notes.append(f"axes {listed}: read as {', '.join(letters.lower())}, as told")
    pages = [letter for letter in letters if letter in "IQ"]
    if len(pages) == 1 and "Z" not in letters:
        notes.append(f"{lengths[letters.index(pages[0])]} pages without a stated axis: read as a stack along z")
        letters = letters.replace(pages[0], "Z")
    unknown = [letter for letter in letters if letter not in ("TCSZYX" if time else "CSZYX")]
    if unknown == ["T"]:
        raise Refused(
            f"axes {listed}: expected only channels (C, S) and space (Z, Y, X), so that T cannot be read at once: name "
            f"one time point, such as {tif.filehandle.name}#t1, or the folder that holds the file for all of them; or, "
            "where the frames are planes of a volume, name the axes with --axes, such as zyx"
        )
    if unknown or len(set(letters)) != len(letters):
        raise Refused(
            f"axes {listed}: expected only channels (C, S) and space (Z, Y, X), so that "
            f"{' and '.join(dict.fromkeys(unknown or letters))} cannot be read; save every position as a file of its "
            "own, or, where the frames are planes of a volume, name the axes with --axes, such as zyx"
        )
    # An axis Z of length 1 counts where the writer named the axes one by one; OME and ImageJ always list a Z.
    named = str(tif.shaped_metadata[0].get("axes", "")) if series.kind == "shaped" and tif.shaped_metadata else ""
    is_volume = "Z" in letters or "Z" in named
    return Layout(letters, lengths, "zyx" if is_volume else "yx")


def _with_times(letters: str, lengths: tuple[int, ...], time: int, listed: str, notes: list[str]) -> str:
    """The axes of a series of which a time point is asked for: times, else pages without a name, else planes."""
    pages = [letter for letter in letters if letter in "IQ"] or [letter for letter in letters if letter == "Z"]
    if "T" not in letters and len(pages) == 1:
        notes.append(f"{'slices' if pages == ['Z'] else 'pages without a stated axis'} read as time points, as told")
        letters = letters.replace(pages[0], "T")
    if letters.count("T") != 1:
        raise Refused(f"axes {listed or 'of one pixel'}: no series over time, of which it would be number {time}")
    n = lengths[letters.index("T")]
    if time > n:
        raise Refused(f"holds {n} time points, numbered from 1: there is no {time}")
    notes.append(f"a series of {n} time points, each an image of its own")
    return letters


def _told_letters(options: ReadOptions, letters: str, lengths: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Letters of the axes longer than one, as told for them, or for all axes."""
    if len(shape) == len(options.axes) != len(letters):
        return "".join(letter for letter, n in zip(options.axes.upper(), shape, strict=True) if n != 1)
    return options.order(lengths).upper()


def _colour(page: tifffile.TiffPage, layout: Layout, read: Callable[[Region], np.ndarray], notes: list[str]) -> Colour:
    """Meaning of the samples, from the photometric interpretation and the kinds of extra samples."""
    kind, samples = int(page.photometric), layout.shape[0]
    if page.dtype is None or page.dtype.kind not in "buif":
        raise Refused(f"pixels of dtype {page.dtype}: expected integers, floats or bool")
    colours = {RGB: 3, YCBCR: 3, CMYK: 4}.get(kind, 1)
    if kind not in (*GRAY_KINDS, RGB, PALETTE, CMYK) and not (kind == YCBCR and int(page.compression) in JPEG):
        raise Refused(
            f"colour space {tifffile.PHOTOMETRIC(kind).name}: expected gray, RGB, palette or CMYK; convert it first"
        )
    if kind == MIN_IS_WHITE:
        notes.append("stored as min-is-white: values kept as stored")
    alpha = None
    if page.extrasamples and samples == page.samplesperpixel == colours + len(page.extrasamples):
        alpha = alpha_of([int(kind) for kind in page.extrasamples], colours, layout.shape[1:], read, notes)
    if kind == PALETTE and page.is_imagej:
        # ImageJ shows the values of one channel through a table; in its own files they are the measurement.
        notes.append("ImageJ's lookup table is for display: the stored values are read")
    elif kind == PALETTE and samples == 1 and page.dtype.kind == "u":
        return Colour("palette", palette=_palette(page.colormap, 2**page.bitspersample))
    channels = samples - (alpha is not None)
    if kind in (RGB, YCBCR) and channels == 3:
        return Colour("rgb", alpha)
    if kind == CMYK and channels == 4 and page.dtype.kind == "u":
        return Colour("cmyk", alpha)
    return Colour("plain", alpha)


def _palette(colour_map: np.ndarray | None, entries: int) -> np.ndarray:
    """Colours of shape (entries, 3): uint8 where the 16-bit map of the file holds 8 bits only."""
    if colour_map is None:
        raise Refused("palette image without its colour map")
    if np.shape(colour_map) != (3, entries):
        raise Refused(f"damaged: a colour map of shape {np.shape(colour_map)}, expected (3, {entries})")
    colours = np.ascontiguousarray(colour_map.T)
    for factor in (257, 256):
        if not (colours % factor).any():
            return (colours // factor).astype(np.uint8)
    return colours
