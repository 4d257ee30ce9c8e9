"""Small valid files of every format that is read, each with the independent library that reads it too.

A sample is a folder as a user has it: two images (`images/a.*`, `b.*`), their masks, and where a run belongs to it a
tiny trained one in `run/`. One file or folder of it is the target that is damaged. Peers that are not installed are
left out: `pip install pyfive tensorstore rasterio SimpleITK`. ND2 is not among them: only Nikon writes it.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from lif_files import write_lif
from PIL import Image as Picture

from fuzzing.peers import (
    by_gdal,
    by_hand,
    by_imagecodecs,
    by_itk,
    by_itk_as_stored,
    by_numpy,
    by_pyfive,
    by_tensorstore,
)
from unetkit import io
from unetkit.image import Image
from unetkit.io.filenames import STATEMENTS

__all__ = ["SAMPLES", "Sample", "write_image"]

RNG = np.random.default_rng(0)
SIDE = 48
GRAY = (RNG.normal(90, 12, (SIDE, SIDE)) + 60 * (np.indices((SIDE, SIDE)).sum(0) % 24 < 10)).astype(np.uint8)
GRAY = GRAY // 40 * 40  # few values: as a mask it holds classes
DEEP = GRAY.astype(np.uint16) * 200
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], -1)
VOLUME = np.stack([np.roll(GRAY, 3 * i, 0) for i in range(6)]).astype(np.int16) * 9
MASK = (np.indices((SIDE, SIDE)).sum(0) % 24 < 10).astype(np.uint8)
THICK = np.stack([MASK] * len(VOLUME))


@dataclass(frozen=True)
class Sample:
    """A format, and how to make and to check one file of it.

    Attributes
    ----------
    name : str
    target : str
        What is damaged, below the folder of the sample; "images/a.*" of an image.
    write : tuple of callable
        Variants; each takes the path of the target. The seed chooses one.
    peer : callable, optional
        Reads the target by an independent library, as (channels, *spatial) in any arrangement of axes of length 1.
    is_volume : bool
    text : "json", "csv", "xml", "tensors" or ""
        How its content can be damaged beyond its bytes.
    images : "picture", "series" or "map"
        Of a target that is no image.
    """

    name: str
    target: str
    write: tuple[Callable[[Path], Any], ...]
    peer: Callable[[Path], np.ndarray] | None = None
    is_volume: bool = False
    text: str = ""
    images: str = "picture"

    @property
    def is_image(self) -> bool:
        """Whether the target is an image, and not a mask, a table or a part of a run."""
        return self.target.startswith("images/")

    @property
    def is_mask(self) -> bool:
        """Whether the target is a mask that is drawn on its image."""
        return self.target.startswith("masks/") and Path(self.target).name not in STATEMENTS


def _tiff(array: np.ndarray, **options: Any) -> Callable[[Path], Any]:
    return lambda path: tifffile.imwrite(path, array, **{"photometric": "minisblack", "metadata": None, **options})


def _picture(array: np.ndarray, **options: Any) -> Callable[[Path], Any]:
    return lambda path: Picture.fromarray(array).save(path, **options)


def _bytes(make: Callable[[], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(make())


def _map(path: Path) -> None:
    place = io.GeoReference(
        (2.0, 2.0, 0.0), (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), keys=(1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    )
    io.write(path, Image(GRAY[None], "cyx", (2.0, 2.0), "m", georeference=place))


def _zarr(version: int) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        import zarr

        scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        stated = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        root = zarr.open_group(path, mode="w", zarr_format=version)
        if version == 3:
            root.attrs["ome"] = {"version": "0.5", "multiscales": [stated]}
        else:
            root.attrs["multiscales"] = [{"version": "0.4", **stated}]
        shards: Any = (4, 32, 32) if version == 3 else None
        root.create_array("0", data=VOLUME, chunks=(2, 16, 16), shards=shards)

    return write


def _series(path: Path) -> None:
    import SimpleITK as sitk

    path.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, plane in enumerate(VOLUME):
        one = sitk.GetImageFromArray(plane[None])
        for tag, value in {"0008|0060": "CT", "0020|000e": "1.2.3", "0020|000d": "1.2", "0020|0052": "1.4"}.items():
            one.SetMetaData(tag, value)
        one.SetOrigin((0.0, 0.0, 2.0 * k))
        one.SetSpacing((0.5, 0.5, 2.0))
        one.SetMetaData("0008|0018", f"1.2.3.{k + 1}")
        one.SetMetaData("0020|0032", f"0\\0\\{2 * k}")
        one.SetMetaData("0020|0013", str(k))
        one.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        one.SetMetaData("0008|0016", "1.2.840.10008.5.1.4.1.1.2")
        writer.SetFileName(str(path / f"{k}.dcm"))
        writer.Execute(one)


def _hdf5(path: Path, **options: Any) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=VOLUME, **options).attrs["element_size_um"] = (2.0, 0.5, 0.5)


def _mrc(path: Path) -> None:
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(VOLUME)
        file.voxel_size = 10.0


def _itk(compressed: bool) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(VOLUME)
        image.SetSpacing((0.5, 0.5, 2.0))
        sitk.WriteImage(image, str(path), compressed)

    return write


def _czi(path: Path) -> None:
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for z, plane in enumerate(DEEP[None]):
            file.write(plane[..., None], plane={"C": 0, "Z": z, "T": 0})
        file.write_metadata(scale_x=1e-7, scale_y=1e-7)


def _lif(path: Path) -> None:
    write_lif(path, {"a": (VOLUME.astype(np.uint16), "zyx")})


def _slide(path: Path) -> None:
    text = "Aperio Image Library v1\r\n144x144 |AppMag = 20|MPP = 0.4990"
    _tiff(np.tile(COLOUR, (3, 3, 1)), tile=(64, 64), photometric="rgb", description=text)(path)


# --- outlines, contours and segments ---

_BOXES = ((4, 6, 20, 30), (24, 10, 40, 22))  # top, left, bottom, right


def _ring(top: int, left: int, bottom: int, right: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _segments(path: Path) -> None:
    from dicom_files import segmentation, slices

    sources = slices(path.parents[1] / "images" / "a")
    for source in sources:  # a writer of segments asks for these
        source.PatientID, source.PatientName, source.PatientBirthDate, source.PatientSex = "1", "A^B", "", "O"
        source.StudyID, source.StudyDate, source.StudyTime, source.AccessionNumber = "1", "20260101", "120000", ""
        source.ReferringPhysicianName, source.FrameOfReferenceUID = "", "1.4"
    segmentation(path, sources, THICK, ["cell"])


def _contours(path: Path) -> None:
    from dicom_files import rtstruct

    rings = [[(x * 0.5, y * 0.5, 2.0 * k) for x, y in _ring(*box)] for box in _BOXES for k in (1, 2)]
    rtstruct(path, {"cell": rings})


def _geojson(path: Path) -> None:
    rings = [[*_ring(*box), _ring(*box)[0]] for box in _BOXES]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _layer(path: Path) -> None:
    import pyogrio
    import shapely

    on_map = [[(5e5 + 2 * x, 4e6 - 2 * y) for x, y in _ring(*box)] for box in _BOXES]
    shapes = shapely.to_wkb([shapely.Polygon(ring) for ring in on_map])
    pyogrio.raw.write(path, shapes, [np.array([1, 2])], ["id"], geometry_type="Polygon", crs="EPSG:32633")


def _rois(path: Path) -> None:
    import roifile

    rois = [
        roifile.ImagejRoi.frompoints(np.array(_ring(*box), np.float32), name=str(i)) for i, box in enumerate(_BOXES)
    ]
    roifile.roiwrite(path, rois)


def _coco(path: Path) -> None:
    images = [{"id": i, "file_name": f"{name}.png", "height": SIDE, "width": SIDE} for i, name in enumerate("ab")]
    annotations = [
        {"id": k, "image_id": k % 2, "category_id": 1, "iscrowd": 0, "segmentation": [np.ravel(_ring(*box)).tolist()]}
        for k, box in enumerate((*_BOXES, *_BOXES), start=1)
    ]
    categories = [{"id": 1, "name": "cell"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _labelme(path: Path) -> None:
    rows = [{"label": "cell", "points": _ring(*box), "shape_type": "polygon"} for box in _BOXES]
    path.write_text(json.dumps({"shapes": rows, "imageHeight": SIDE, "imageWidth": SIDE}))


def _yolo(path: Path) -> None:
    path.write_text("".join(f"0 {' '.join(f'{v / SIDE:.6f}' for v in np.ravel(_ring(*box)))}\n" for box in _BOXES))


def write_image(sample: Sample, folder: Path, name: str) -> None:
    """An image of a sample whose target is something else."""
    if sample.images == "picture":
        io.write(folder / f"{name}.png", Image(GRAY[None], "cyx", (1.0, 1.0)))
    elif sample.images == "map":
        _map(folder / f"{name}.tif")
    else:
        _series(folder / name)


# --- texts ---


def _table(path: Path) -> None:
    rows = "".join(f"images/{name}.png,masks/{name}.png,{name}\n" for name in "ab")
    path.write_text(f"image,mask,group\n{rows}", encoding="utf-8")


def _labels(path: Path) -> None:
    path.write_text(json.dumps({"values": [0, 1], "names": ["background", "cell"], "ignore": 255}), encoding="utf-8")


def _nnunet(path: Path) -> None:
    content = {"channel_names": {"0": "gray"}, "labels": {"background": 0, "cell": 1, "ignore": 2}, "numTraining": 2}
    path.write_text(json.dumps(content | {"file_ending": ".png"}), encoding="utf-8")


def _nothing(path: Path) -> None:
    """The sample has it already: a part of the run."""


def _jpeg2000() -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(DEEP, level=0, codecformat="jp2", reversible=True))


def _nifti(path: Path) -> None:
    spacing = (2.0, 0.5, 0.5)
    io.write(path, Image(VOLUME[None], "czyx", spacing, "mm"))


def _longer(path: Path) -> None:
    """A gzip of 1 GB of zeros behind a valid volume, more than is told: members may follow each other."""
    _nifti(path)
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(1 << 24)) * 64)


def _png_claims(path: Path) -> None:
    """A PNG of a terabyte by its header, which decoders refuse."""
    _picture(GRAY)(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 10**6, 10**6)
    content[29:33] = struct.pack(">I", imagecodecs.deflate_crc32(bytes(content[12:29])))
    path.write_bytes(content)


_PNG = (_picture(GRAY), _picture(COLOUR), _bytes(lambda: imagecodecs.png_encode(DEEP)), _png_claims)
_PLAIN = (_tiff(GRAY, rowsperstrip=7, compression="zlib"), _tiff(COLOUR, photometric="rgb"), _tiff(DEEP))
_TILED = (
    _tiff(DEEP, tile=(16, 16), compression="lzw", predictor=True),
    _tiff(COLOUR, photometric="rgb", tile=(16, 16), compression="zlib"),
    _tiff(VOLUME, tile=(16, 16), compression="packbits"),
)
_OME = {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}}
SAMPLES = (
    Sample("PNG", "images/a.png", _PNG, by_gdal),
    Sample("JPEG", "images/a.jpg", (_picture(GRAY), _picture(COLOUR)), by_imagecodecs),
    Sample("TIFF", "images/a.tif", _PLAIN, by_gdal),
    Sample("tiled TIFF", "images/a.tif", _TILED, by_gdal),
    Sample("BigTIFF", "images/a.tif", (_tiff(GRAY, bigtiff=True, tile=(16, 16), compression="zlib"),), by_gdal),
    Sample("OME-TIFF", "images/a.ome.tif", (_tiff(VOLUME, **_OME),), by_gdal, True, "xml"),
    Sample("ImageJ TIFF", "images/a.tif", (_tiff(VOLUME, imagej=True, metadata={"axes": "ZYX"}),), by_gdal, True),
    Sample("GeoTIFF", "images/a.tif", (_map,), by_gdal),
    Sample("OME-Zarr 0.4", "images/a.zarr", (_zarr(2),), by_tensorstore, True, "json"),
    Sample("OME-Zarr 0.5", "images/a.zarr", (_zarr(3),), by_tensorstore, True, "json"),
    Sample("NIfTI", "images/a.nii", (_nifti,), by_itk, True),
    Sample("NIfTI, gzip", "images/a.nii.gz", (_nifti, _nifti, _longer), by_itk, True),
    Sample("DICOM", "images/a", (_series,), by_itk, True),
    Sample("BMP", "images/a.bmp", (_picture(GRAY), _picture(COLOUR)), by_gdal),
    Sample("GIF", "images/a.gif", (_picture(GRAY),), by_gdal),
    Sample("WebP", "images/a.webp", (_picture(COLOUR, lossless=True), _picture(COLOUR)), by_gdal),
    Sample("JPEG 2000", "images/a.jp2", (_bytes(_jpeg2000),), by_gdal),
    Sample("NPY", "images/a.npy", (lambda path: np.save(path, DEEP), lambda path: np.save(path, VOLUME)), by_numpy),
    Sample("NPZ", "images/a.npz", (lambda p: np.savez(p, DEEP), lambda p: np.savez_compressed(p, DEEP)), by_numpy),
    Sample("HDF5", "images/a.h5", (_hdf5, lambda p: _hdf5(p, chunks=(2, 16, 16), compression="gzip")), by_pyfive, True),
    Sample("MRC", "images/a.mrc", (_mrc,), by_itk_as_stored, True),
    Sample("NRRD", "images/a.nrrd", (_itk(False), _itk(True)), by_itk, True),
    Sample("MetaImage", "images/a.mha", (_itk(False), _itk(True)), by_hand, True),
    Sample("CZI", "images/a.czi", (_czi,), None, False, "xml"),
    Sample(
        "LIF", "images/a.lif", (lambda path: write_lif(path, {"a": (VOLUME.astype(np.uint16), "zyx")}),), None, True
    ),
    Sample("SVS", "images/a.svs", (_slide,), by_gdal),
    Sample("DICOM SEG", "masks/a.dcm", (_segments,), None, True, images="series"),
    Sample("DICOM RTSTRUCT", "masks/a.dcm", (_contours,), None, True, images="series"),
    Sample("GeoJSON", "masks/a.geojson", (_geojson,), text="json"),
    Sample("GeoPackage", "masks/a.gpkg", (_layer,), images="map"),
    Sample("shapefile", "masks/a.shp", (_layer,), images="map"),
    Sample("ImageJ ROIs", "masks/a.zip", (_rois,)),
    Sample("COCO", "masks/all.json", (_coco,), text="json"),
    Sample("LabelMe", "masks/a.json", (_labelme,), text="json"),
    Sample("YOLO", "masks/a.txt", (_yolo,)),
    Sample("pairs.csv", "pairs.csv", (_table,), text="csv"),
    Sample("labels.json", "masks/labels.json", (_labels,), text="json"),
    Sample("dataset.json", "dataset.json", (_nnunet,), text="json"),
    Sample("model", "run/model.safetensors", (_nothing,), text="tensors"),
    Sample("plan.json", "run/plan.json", (_nothing,), text="json"),
    Sample("state", "run/last/state.safetensors", (_nothing,), text="tensors"),
    Sample("data.json", "run/data.json", (_nothing,), text="json"),
    Sample("log.jsonl", "run/log.jsonl", (_nothing,), text="json"),
    Sample("validation.json", "run/validation.json", (_nothing,), text="json"),
)
