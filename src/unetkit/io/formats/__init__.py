"""Formats that one library reads, each in a module of its own, by suffix; libraries are loaded late."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..decoder_errors import decoding
from ..filenames import JPEG2000_SUFFIXES, suffix_of
from ..read_options import ReadOptions
from ..samples import Stored
from .sliced import SlicedSource, read_whole

__all__ = ["FORMATS", "Format", "SlicedSource", "format_of", "read_whole"]


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
    names_axes : bool
        Whether every file says what its axes are; else `open_source` takes `ReadOptions`.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    library: str = ""
    extra: str = ""
    mask_suffix: str = ".tif"
    begins_as: str = ""
    names_axes: bool = True

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

    def _with_options(self, options: ReadOptions) -> dict[str, ReadOptions]:
        return {} if self.names_axes else {"options": options}

    def _module(self) -> Any:
        try:
            return import_module(f".{self.module}", __name__)
        except ImportError as error:
            raise ImportError(f"{self.name} needs {self.library}: pip install 'unetkit[{self.extra}]'") from error


def _only_whole(path: Path, *, is_mask: bool) -> None:
    """In place of `open_source`, for a format that is decoded whole."""


FORMATS = (
    *(
        Format(name, suffixes, "pictures", mask_suffix=".png")
        for name, suffixes in (
            ("BMP", (".bmp",)),
            ("GIF", (".gif",)),
            ("WebP", (".webp",)),
            ("JPEG 2000", JPEG2000_SUFFIXES),
        )
    ),
    Format("NPY", (".npy",), "npy", names_axes=False),
    Format("NPZ", (".npz",), "npy", names_axes=False),
    Format("HDF5", (".h5", ".hdf5"), "hdf5", "h5py", "formats", names_axes=False),
    Format("MRC", (".mrc", ".rec"), "mrc", "mrcfile", "formats"),
    Format("NRRD", (".nrrd", ".nhdr"), "nrrd", "pynrrd", "formats", ".nii.gz"),
    Format("MetaImage", (".mha", ".mhd"), "metaimage", "SimpleITK", "formats", ".nii.gz"),
    Format("CZI", (".czi",), "czi", "pylibCZIrw", "formats"),
    Format("LIF", (".lif",), "lif", "liffile", "formats"),
    Format("ND2", (".nd2",), "nd2", "nd2", "formats"),
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
