"""Series over time: each time point an image of its own, FILE#tNUMBER, in every format that states times."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from unetkit import io
from unetkit.io import images_within, list_images, open_lazy
from unetkit.io.filenames import file_of, is_part, mask_keys, name_of, stem_of, time_of

T = 3


def pixels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 200, (T, *shape)).astype(dtype)


def imagej(path: Path, array: np.ndarray, axes: str) -> None:
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": axes, "spacing": 2.0, "unit": "um"})


def ome(path: Path, array: np.ndarray, axes: str) -> None:
    tifffile.imwrite(path, array, ome=True, metadata={"axes": axes}, photometric="minisblack")


def tiled(path: Path, array: np.ndarray, axes: str) -> None:
    tifffile.imwrite(path, array, metadata={"axes": axes}, tile=(16, 16), compression="zlib", photometric="minisblack")


def nifti(path: Path, array: np.ndarray, axes: str) -> None:
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm", "sec")
    picture = nibabel.Nifti1Image(array.T, np.diag([1.0, 1.0, 2.0, 1.0]), header)  # x, y, z, t
    picture.header["pixdim"][4] = 2.5
    picture.to_filename(path)


def omezarr(path: Path, array: np.ndarray, axes: str) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'unetkit[zarr]'")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", shape=array.shape, chunks=(1, *array.shape[1:]), dtype=array.dtype)[:] = array
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes.lower()]
    scale = [{"type": "scale", "scale": [1.0] * array.ndim}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": named, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]


FORMS = [
    ("a.tif", imagej, "TYX", (20, 30)),
    ("a.tif", imagej, "TZCYX", (4, 2, 20, 30)),
    ("a.ome.tif", ome, "TCYX", (2, 20, 30)),
    ("a.ome.tif", ome, "TZYX", (4, 20, 30)),
    ("a.tif", tiled, "TYX", (40, 50)),
    ("a.nii.gz", nifti, "TZYX", (4, 20, 30)),
    ("a.ome.zarr", omezarr, "TYX", (20, 30)),
    ("a.ome.zarr", omezarr, "TCZYX", (2, 4, 20, 30)),
]


@pytest.mark.parametrize(("name", "write", "axes", "size"), FORMS)
def test_each_time_point_is_an_image(tmp_path: Path, name: str, write, axes: str, size: tuple[int, ...]) -> None:
    array = pixels(*size)
    write(tmp_path / name, array, axes)
    series = list_images(tmp_path)
    assert [path.name for path in series] == [f"{name}#t{i}" for i in (1, 2, 3)]
    assert images_within(tmp_path / name) == series
    assert list_images(tmp_path, axes="zyx") == [tmp_path / name]  # as a person says, and not as the file
    spatial = "zyx" if "Z" in axes else "yx"
    order = [axes[1:].index(letter) for letter in ("C" * ("C" in axes)) + spatial.upper()]
    for path, frame in zip(series, array, strict=True):
        expected = frame.transpose(order).reshape(-1, *(size[axes[1:].index(a.upper())] for a in spatial))
        image = io.read(path)
        assert image.axes == "c" + spatial
        assert np.array_equal(image.array, expected)
        assert "a series of 3 time points, each an image of its own" in image.notes
        with open_lazy(path) as lazy:
            assert np.array_equal(lazy[:, 1:, 2:9], expected[:, 1:, 2:9])
            assert lazy.spacing == image.spacing
    with pytest.raises(ValueError, match=r"#t4: .*holds 3 time points, numbered from 1: there is no 4"):
        io.read(tmp_path / f"{name}#t4")
    with pytest.raises(ValueError, match="#t1"):
        io.read(tmp_path / name)


def test_what_is_no_series(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", pixels(20, 30)[:1], imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "flat.tif", pixels(20, 30)[0])
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    assert [path.name for path in list_images(tmp_path)] == ["bad.tif", "flat.tif", "one.tif"]
    for name in ("flat.tif", "one.tif"):
        with pytest.raises(ValueError, match=rf"{name}#t2: axes .*: no series over time, of which"):
            io.read(tmp_path / f"{name}#t2")
    nibabel.Nifti1Image(pixels(2, 20, 30)[0].T, np.eye(4)).to_filename(tmp_path / "v.nii")
    with pytest.raises(ValueError, match="holds 1 time point, numbered from 1: there is no 2"):
        io.read(tmp_path / "v.nii#t2")


def test_pages_and_slices_are_times_where_a_person_says_so(tmp_path: Path) -> None:
    array = pixels(20, 30)
    tifffile.imwrite(tmp_path / "pages.tif", array, photometric="minisblack")
    tifffile.imwrite(tmp_path / "slices.tif", array, imagej=True, metadata={"axes": "ZYX"})
    for name, words in (("pages", "pages without a stated axis"), ("slices", "slices")):
        assert io.read(tmp_path / f"{name}.tif").size == (3, 20, 30)
        assert images_within(tmp_path / f"{name}.tif") == [tmp_path / f"{name}.tif"]
        frame = io.read(tmp_path / f"{name}.tif#t2")
        assert np.array_equal(frame.array, array[1:2])
        assert f"{words} read as time points, as told" in frame.notes


def test_pages_and_slices_are_times_where_the_axes_are_told(tmp_path: Path) -> None:
    array = pixels(4, 20, 30)
    tifffile.imwrite(tmp_path / "pages.tif", array[0], photometric="minisblack")  # as many pages as planes of one time
    tifffile.imwrite(tmp_path / "slices.tif", array[:, 0], imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "volumes.tif", array, photometric="minisblack")
    tifffile.imwrite(tmp_path / "flat.tif", array[0, 0])
    listed = [path.name for path in list_images(tmp_path, axes="tyx")]
    assert listed == [
        "flat.tif",
        *(f"pages.tif#t{i}" for i in (1, 2, 3, 4)),
        *(f"slices.tif#t{i}" for i in (1, 2, 3)),
        "volumes.tif",
    ]
    assert np.array_equal(io.read(tmp_path / "pages.tif#t4", axes="tyx").array, array[0, 3:])
    assert np.array_equal(io.read(tmp_path / "flat.tif", axes="tyx").array, array[0, :1])
    assert np.array_equal(io.read(tmp_path / "volumes.tif#t2", axes="tzyx").array, array[1:2])
    for name in ("pages", "volumes"):
        with pytest.raises(ValueError, match=rf"told to be a series over time .*: name one time point, such as {name}"):
            io.read(tmp_path / f"{name}.tif", axes="tzyx")


def test_names() -> None:
    path = Path("in/film.ome.tif#t12")
    assert (file_of(path).name, time_of(path), is_part(path)) == ("film.ome.tif", 12, True)
    assert (name_of(path), stem_of(path)) == ("film#t12.ome", "film#t12")
    assert stem_of(Path("film#t12.ome.tif")) == "film#t12"  # the file of its mask
    assert not is_part(Path("film#t12.tif"))
    assert time_of(Path("film.png#t2")) == 0
    for mask in ("film#t2", "film_t002", "film-t2", "film_mask_t02", "film_t02_mask", "film_mask#t2", "mask_film_t2"):
        assert "film#t2" in mask_keys(mask), mask
