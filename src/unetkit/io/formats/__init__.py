"""Formats that one library reads, each in a module of its own, by suffix; libraries are loaded late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from ..decoder_errors import decoding
from ..filenames import JPEG2000_SUFFIXES, suffix_of
from ..read_options import ReadOptions
from ..samples import Stored
from .sliced import SlicedSource, read_whole

__all__ = ["FORMATS", "Format", "SlicedSource", "format_of", "read_whole"]


_USER_BLOCKS = (512, 1024, 2048)  # where an HDF5 file may begin too
_LONGEST_SIGNATURE = 10


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes
    ----------
    name : str
        As people call it.
    suffixes : tuple of str
        In lower case, with the dot.
    module : str
        Of this package: has `read`, which gives `Stored`, or `open_source`, which gives a `SlicedSource`.
    library : str
        That must be installed, by its name in pip; "" where the core has it.
    extra : str
        Of this package, that installs it.
    mask_suffix : str
        Of masks of its images, since none of these formats is written.
    begins_as : str
        The format that its first bytes are of, where they are not its own: slides are mostly TIFF.
    may_hold_several : bool
        Whether a file may hold several images, each of which is read by its number, `a.czi#2`, and several times,
        `a.czi#t3`. Its module has `image_numbers` and `time_points` then.
    names_axes : bool
        Whether every file says what its axes are; else `open_source` takes `ReadOptions`.
    signatures : tuple of bytes
        One of which its files begin with; () where they begin with anything.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    library: str = ""
    extra: str = ""
    mask_suffix: str = ".tif"
    begins_as: str = ""
    may_hold_several: bool = False
    names_axes: bool = True
    signatures: tuple[bytes, ...] = ()

    def begins(self, file: BinaryIO) -> bool:
        """Whether a file begins as those of the format do: text, and pointers in place of a file, do not."""
        for start in (0, *_USER_BLOCKS) if self.name == "HDF5" else (0,):
            file.seek(start)
            if not self.signatures or file.read(_LONGEST_SIGNATURE).startswith(self.signatures):
                return True
        return False

    @property
    def is_picture(self) -> bool:
        """Whether its files are like PNG and JPEG: the place of a map stands beside them."""
        return self.module == "pictures"

    def read(self, path: Path, options: ReadOptions, *, is_mask: bool = False) -> Stored:
        """All samples of a file; of a container of several arrays that of the image, or of the mask."""
        module = self._module()
        with decoding(self.name):
            if hasattr(module, "read"):
                stored: Stored = module.read(path)
                return stored
            source: SlicedSource = module.open_source(path, is_mask=is_mask, **self._with_options(options))
        source.format = self.name
        return read_whole(source)

    def open_source(self, path: Path, options: ReadOptions) -> SlicedSource | None:
        """The image of a file, to read regions of it; None where it can only be decoded whole."""
        module = self._module()
        with decoding(self.name):
            opener = getattr(module, "open_source", _only_whole)
            source: SlicedSource | None = opener(path, is_mask=False, **self._with_options(options))
        if source is not None:
            source.format = self.name
        return source

    def image_numbers(self, path: Path) -> Sequence[int]:
        """Of the images of a file that may hold several."""
        if not self.may_hold_several:
            return (1,)
        with decoding(self.name):
            numbers: Sequence[int] = self._module().image_numbers(path)
        return numbers

    def parts(self, path: Path) -> list[str]:
        """What names each of the images of a file behind its name: #2 of several images, #2#t3 of several times too."""
        if not self.may_hold_several:
            return [""]
        numbers = self.image_numbers(path)
        with decoding(self.name):
            times: Sequence[int] = self._module().time_points(path)
        names = [f"#{number}" if len(numbers) > 1 else "" for number in numbers]
        series = [[f"#t{i}" for i in range(1, n + 1)] if n > 1 else [""] for n in times]
        return [name + time for name, own in zip(names, series, strict=True) for time in own]

    def _with_options(self, options: ReadOptions) -> dict[str, ReadOptions]:
        return {} if self.names_axes else {"options": options}

    def _module(self) -> Any:
        try:
            return import_module(f".{self.module}", __name__)
        except ImportError as error:
            raise ImportError(f"{self.name} needs {self.library}: pip install 'unetkit[{self.extra}]'") from error


def _only_whole(path: Path, *, is_mask: bool) -> None:
    """In place of `open_source`, for a format that is decoded whole."""


_JP2 = b"\x00\x00\x00\x0cjP"
FORMATS = (
    *(
        Format(name, suffixes, "pictures", mask_suffix=".png", signatures=signatures)
        for name, suffixes, signatures in (
            ("BMP", (".bmp",), (b"BM",)),
            ("GIF", (".gif",), (b"GIF8",)),
            ("WebP", (".webp",), (b"RIFF",)),
            ("JPEG 2000", JPEG2000_SUFFIXES, (_JP2, b"\xff\x4f\xff")),
        )
    ),
    Format("NPY", (".npy",), "npy", names_axes=False, signatures=(b"\x93NUMPY",)),
    Format("NPZ", (".npz",), "npy", names_axes=False, signatures=(b"PK",)),
    Format(
        "HDF5",
        (".h5", ".hdf5"),
        "hdf5",
        "h5py",
        "formats",
        may_hold_several=True,
        names_axes=False,
        signatures=(b"\x89HDF\r\n\x1a\n",),
    ),
    Format("MRC", (".mrc", ".rec"), "mrc", "mrcfile", "formats"),
    Format("NRRD", (".nrrd", ".nhdr"), "nrrd", "pynrrd", "formats", ".nii.gz", signatures=(b"NRRD",)),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        "metaimage",
        "SimpleITK",
        "formats",
        ".nii.gz",
        signatures=(b"ObjectType", b"NDims", b"Comment"),
    ),
    Format("CZI", (".czi",), "czi", "pylibCZIrw", "formats", may_hold_several=True, signatures=(b"ZISRAWFILE",)),
    Format("LIF", (".lif",), "lif", "liffile", "formats", may_hold_several=True, signatures=(b"\x70\x00\x00\x00",)),
    Format("ND2", (".nd2",), "nd2", "nd2", "formats", may_hold_several=True, signatures=(b"\xda\xce\xbe\x0a", _JP2)),
    Format(
        "whole slide",
        (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".bif"),
        "slides",
        "openslide-python openslide-bin",
        "slides",
        begins_as="TIFF",
    ),
)
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}


def format_of(path: Path) -> Format | None:
    """The format of a file by its suffix; None for those that `io.reading` recognises by their content."""
    return _BY_SUFFIX.get(suffix_of(path))
