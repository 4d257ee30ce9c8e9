"""What independent libraries read from a file, as (channels, *spatial) or with the channels last."""

from __future__ import annotations

import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

__all__ = [
    "by_gdal",
    "by_hand",
    "by_imagecodecs",
    "by_itk",
    "by_itk_as_stored",
    "by_numpy",
    "by_pyfive",
    "by_tensorstore",
]


def by_gdal(path: Path) -> np.ndarray:
    """All pages of a TIFF, or a picture, by GDAL."""
    import rasterio

    warnings.simplefilter("ignore")  # of pictures that lie nowhere
    with tifffile.TiffFile(path) if path.suffix == ".tif" else open(path, "rb") as file:
        n = len(file.pages) if isinstance(file, tifffile.TiffFile) else 1
    names = [f"GTIFF_DIR:{i + 1}:{path}" for i in range(n)] if n > 1 else [str(path)]
    planes = []
    for name in names:
        with rasterio.open(name) as one:
            planes.append(one.read())
            if path.suffix == ".gif":  # indices of colours, which are gray in the sample
                planes[-1] = np.array([one.colormap(1)[i][0] for i in range(256)], np.uint8)[planes[-1]]
    return planes[0] if n == 1 else np.concatenate(planes)


def by_itk(path: Path) -> np.ndarray:
    """A volume turned to right, anterior, superior, by ITK."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if path.is_dir():  # file by file: as a series, ITK leaves out what it cannot read
        slices = sorted((sitk.ReadImage(str(file)) for file in path.iterdir()), key=lambda one: one.GetOrigin()[2])
        return np.concatenate([sitk.GetArrayFromImage(one) for one in slices])[:, ::-1, ::-1]
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "RAS") if image.GetDimension() == 3 else image)


def by_itk_as_stored(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def by_tensorstore(path: Path) -> np.ndarray:
    import tensorstore as ts

    driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
    store = {"driver": "file", "path": f"{path / '0'}/"}
    return np.asarray(ts.open({"driver": driver, "kvstore": store}).result().read().result())


def by_pyfive(path: Path) -> np.ndarray:
    import pyfive

    with pyfive.File(str(path)) as file:
        return np.asarray(file["raw"][:])


def by_hand(path: Path) -> np.ndarray:
    """MetaImage by its description: the header's lines, then the pixels as they are."""
    head, _, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    words = dict(line.split(" = ", 1) for line in head.decode("ascii").splitlines())
    if words["ElementType"] != "MET_SHORT" or words.get("BinaryDataByteOrderMSB") != "False":
        raise ValueError("another type or byte order")
    if words.get("CompressedData") == "True":
        pixels = imagecodecs.zlib_decode(pixels)
    size = [int(n) for n in words["DimSize"].split()][::-1]
    values = np.frombuffer(pixels, "<i2", int(np.prod(size))).reshape(size)
    directions = [float(n) for n in words["TransformMatrix"].split()]
    if directions != [1, 0, 0, 0, 1, 0, 0, 0, 1]:
        raise ValueError("turned")
    return values[:, ::-1, ::-1]


def by_imagecodecs(path: Path) -> np.ndarray:
    """A JPEG by libjpeg-turbo, which spreads colours as Pillow does; ITK and GDAL differ in the last digits."""
    return imagecodecs.jpeg8_decode(path.read_bytes())


def by_numpy(path: Path) -> np.ndarray:
    loaded = np.load(path)
    return loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
