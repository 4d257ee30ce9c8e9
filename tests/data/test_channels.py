"""A file per channel gives the image that one file with all channels gives; what does not fit is named."""

from dataclasses import replace

import numpy as np
import pytest

from unetkit import io
from unetkit.data.channels import open_channels, read_channels
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.image import Image, WorldAffine

RAS = ((1.0, 0.0, 0.0, 5.0), (0.0, 1.0, 0.0, 6.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0))
LPS = ((-1.0, 0.0, 0.0, 9.0), (0.0, -1.0, 0.0, 9.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0))
SIZE = (3, 4, 5)


def volume(seed=0, dtype=np.int16, size=SIZE, affine=RAS, orientation="RAS"):
    array = np.random.default_rng(seed).integers(0, 100, (1, *size)).astype(dtype)
    return Image(array, "czyx", (2.0, 1.0, 1.0), "mm", place=WorldAffine(affine, orientation, size))


def moved(by):
    rows = np.array(RAS)
    rows[:3, 3] += by
    return tuple(map(tuple, rows.tolist()))


def turned():
    """The affine of a volume stored to the left and to the back, about the world's origin."""
    return tuple(map(tuple, (np.diag([-1.0, -1, 1, 1]) @ np.array(RAS)).tolist()))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_stacked_in_order(tmp_path, ndim, channels):
    size = (6, 7, 8)[-ndim:]
    whole = np.random.default_rng(0).integers(0, 255, (channels, *size), dtype=np.uint8)
    axes, spacing = "c" + "zyx"[-ndim:], (1.5, 0.5, 0.25)[-ndim:]
    files = [tmp_path / f"a_{channel:04d}.tif" for channel in range(channels)]
    for file, channel in zip(files, whole, strict=True):
        io.write(file, Image(channel[None], axes, spacing, "µm"))
    image = read_channels(files)
    assert np.array_equal(image.array, whole)
    assert (image.axes, image.spacing, image.unit) == (axes, pytest.approx(spacing), "µm")
    assert image.notes == ((f"{channels} channels, each a file of its own",) if channels > 1 else ())


def test_the_place_of_the_first_and_a_dtype_for_all(tmp_path):
    files = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"]
    for file, image in zip(files, (volume(0), volume(1, np.float32)), strict=True):
        io.write(file, image)
    image = read_channels(files)
    assert image.array.dtype == np.float32
    assert image.place == io.read(files[0]).place
    assert np.array_equal(image.array[:1], volume(0).array)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (volume(size=(3, 4, 6)), r"b\.nii: one channel of .*a\.nii, but it has size \(3, 4, 6\), not \(3, 4, 5\)"),
        (
            replace(volume(), spacing=(2.0, 1.0, 1.1), place=None),
            r"b\.nii: one channel of .*a\.nii, but it has spacing \(2, 1, 1\.1\) mm, not \(2, 1, 1\) mm; resample",
        ),
        (
            replace(volume(), unit="µm", place=None),
            r"b\.nii: one channel of .*a\.nii, but it has spacing \(2, 1, 1\) µm, not \(2, 1, 1\) mm; resample",
        ),
    ],
)
def test_grids_that_differ_are_named(tmp_path, other, message):
    io.write(tmp_path / "a.nii", volume())
    io.write(tmp_path / "b.nii", other)
    with pytest.raises(ValueError, match=message) as caught:
        read_channels([tmp_path / "a.nii", tmp_path / "b.nii"])
    assert "\n" not in str(caught.value)


def test_channels_that_lie_elsewhere_are_refused(tmp_path):
    files = [tmp_path / name for name in ("a.nii", "near.nii", "far.nii")]
    for file, by in zip(files, (0, 0.4, 1.5), strict=True):
        place = WorldAffine(moved(by), "RAS", SIZE, pixdim=(1.0, 1.0, 1.0, 2.0))
        io.write(file, replace(volume(), place=place))
    assert read_channels(files[:2]).channels == 2
    message = r"far\.nii: one channel of .*a\.nii, but it lies .* 1\.5 along x and 1\.5 along y and 0\.75 along z"
    for read in (read_channels, open_channels):
        with pytest.raises(ValueError, match=message):
            read([files[0], files[2]])


def test_channels_stored_another_way_round_are_turned_whole_and_by_region(tmp_path):
    """South-up beside north-up; the tags of a map say so, and so do those of its mirror image."""
    array = np.random.default_rng(0).integers(0, 255, (1, 6, 5), np.uint8)
    ways = (array, (20.0, 0.0, 100.0, 0.0, -20.0, 900.0)), (array[:, ::-1], (20.0, 0.0, 100.0, 0.0, 20.0, 780.0))
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for file, (pixels, (a, b, c, d, e, f)) in zip(files, ways, strict=True):
        matrix = (a, b, 0.0, c, d, e, 0.0, f, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        io.write(file, Image(pixels, "cyx", (1.0, 1.0), georeference=io.GeoReference(matrix=matrix)))
    image = read_channels(files)
    assert np.array_equal(image.array[0], image.array[1])
    with open_channels(files) as lazy:
        assert np.array_equal(lazy[:, 1:4, 2:5], image.array[:, 1:4, 2:5])
        assert any("stored another way round than its counterpart" in note for note in lazy.notes)


# --- where things lie ---


def test_training_reads_files_of_channels_and_names_masks_that_are_turned(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for case in "ab":
        for channel in range(2):
            io.write(tmp_path / "images" / f"{case}_{channel:04d}.nii.gz", volume(channel))
        labels = np.zeros(SIZE, np.uint8)
        labels[1] = 1
        io.write_labels(tmp_path / "masks" / f"{case}.nii.gz", labels, like=volume())
    data = load_dataset(find_pairs(tmp_path))
    assert (data.channels, data.ndim, [case.name for case in data.cases]) == (2, 3, ["a", "b"])
    assert data.cases[0].image.shape == (2, *SIZE)
    assert "2 files: 2 channels, each a file of its own" in data.notes

    like = replace(volume(), place=WorldAffine(turned(), "LPS", SIZE))
    io.write_labels(tmp_path / "masks" / "b.nii.gz", labels, like=like)
    with pytest.raises(ValueError, match=r"1 unusable file:\n.*masks/b\.nii\.gz: lies elsewhere .*stored LPS and RAS"):
        load_dataset(find_pairs(tmp_path))
