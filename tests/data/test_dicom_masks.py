"""DICOM segments and contours as masks: for training, scores and tables, by the names of their classes."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import box, in_body, rtstruct, segmentation, series, slices

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import Pair, find_pairs
from unetkit.image import Image
from unetkit.measurements.table import measure
from unetkit.metrics.folders import evaluate

SIZE = (6, 40, 50)


def blocks(*values: int) -> np.ndarray:
    """A block per value on three of six slices."""
    array = np.zeros(SIZE, np.uint8)
    for number, value in enumerate(values):
        array[1:4, 3 + 12 * number : 12 + 12 * number, 5:20] = value
    return array


def image(folder: Path, seed: int = 0) -> Path:
    return series(folder, np.random.default_rng(seed).integers(0, 100, SIZE))


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """images/ of series, masks/ of DICOM SEG, whose numbers mean other things in the second file."""
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'unetkit[dicom]'")
    for name, names in (("a", ("liver", "spleen")), ("b", ("spleen", "liver"))):
        folder = image(tmp_path / "images" / name)
        segmentation(tmp_path / "masks" / f"{name}.dcm", slices(folder), blocks(1, 2), names)
    return tmp_path


def test_segments_are_one_class_by_one_name_in_all_files(segments: Path) -> None:
    dataset = load_dataset(find_pairs(segments))
    assert dataset.class_names == ["background", "liver", "spleen"]
    first, second = (case.labels for case in dataset.cases)
    assert first.shape == SIZE
    assert np.array_equal(first[:, ::-1, ::-1], blocks(1, 2))
    assert np.array_equal(second[:, ::-1, ::-1], blocks(2, 1))


def test_a_series_may_hold_its_own_contours_or_segments(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        image(tmp_path / name)
        rtstruct(tmp_path / name / "rs.dcm", {"liver": [in_body(box(2.5, 4.5, 11.5, 19.5), k) for k in (1, 2, 3)]})
    pairs = find_pairs(tmp_path)
    assert [(pair.name, pair.mask.name) for pair in pairs] == [("p1", "rs.dcm"), ("p2", "rs.dcm")]
    dataset = load_dataset(pairs)
    assert dataset.class_names == ["background", "liver"]
    assert np.array_equal(dataset.cases[0].labels[:, ::-1, ::-1], blocks(1))


def test_folders_of_one_file_as_archives_give_them(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        image(tmp_path / name / "CT")
        rtstruct(tmp_path / name / "plan" / "1-1.dcm", {"liver": [in_body(box(3, 5, 12, 20), 2)]})
    pairs = find_pairs(tmp_path)
    assert [(pair.name, pair.mask.name, pair.group) for pair in pairs] == [("p1", "plan", "p1"), ("p2", "plan", "p2")]
    assert load_dataset(pairs).cases[0].labels.sum() == 9 * 15


def test_volumes_are_scored_against_segments_and_contours(segments: Path) -> None:
    (segments / "predicted").mkdir()
    array = blocks(1, 2)[:, ::-1, ::-1]
    array[2, 30, 40] = 0
    for name in ("a", "c"):
        like = io.read(image(segments / "images" / name))
        io.write_labels(segments / "predicted" / f"{name}.nii.gz", array, like=like)
    result = evaluate(segments / "predicted" / "a.nii.gz", segments / "masks" / "a.dcm")
    assert [score.name for score in result.pooled] == ["background", "liver", "spleen"]
    assert min(score.dice for score in result.pooled) > 0.99
    boxes = {"liver": box(2.5, 4.5, 11.5, 19.5), "spleen": box(14.5, 4.5, 23.5, 19.5)}
    path = rtstruct(segments / "c.dcm", {name: [in_body(b, k) for k in (1, 2, 3)] for name, b in boxes.items()})
    result = evaluate(segments / "predicted" / "c.nii.gz", path)
    assert min(score.dice for score in result.pooled) > 0.99
    with pytest.raises(ValueError, match=r"drawn on an image, as .*c\.dcm is: name the image"):
        evaluate(segments / "masks" / "a.dcm", path)
    result = evaluate(segments / "masks" / "a.dcm", path, images=segments / "images" / "a")
    assert [score.name for score in result.pooled] == ["background", "liver", "spleen"]
    assert min(score.dice for score in result.pooled) == 1
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: expected the image of the masks"):
        evaluate(segments / "masks" / "a.dcm", path, images=segments / "nowhere")


def test_segments_and_contours_are_measured(segments: Path) -> None:
    table = measure([segments / "masks" / "a.dcm"], out=segments / "t1")
    with_image = measure([segments / "masks" / "a.dcm"], out=segments / "t2", images=segments / "images" / "a")
    assert table.sizes == with_image.sizes == pytest.approx([3 * 9 * 15 * 0.75] * 2)
    path = rtstruct(segments / "a.dcm", {"liver": [in_body(box(3, 5, 12, 20), k) for k in (1, 2, 3)]})
    drawn = measure([path], out=segments / "t3", images=segments / "images" / "a")
    assert drawn.sizes == pytest.approx([3 * 9 * 15 * 0.75])
    with pytest.raises(ValueError, match=r"a\.dcm: contours, which have no voxels of their own: name the image"):
        measure([path], out=segments / "t4")


def test_segments_and_contours_are_read_on_an_image(segments: Path) -> None:
    own = io.read_labels(segments / "masks" / "a.dcm")
    laid = io.read_labels(segments / "masks" / "a.dcm", image=segments / "images" / "a")
    assert own.size == (3, *SIZE[1:])
    assert np.array_equal(laid.array[1:4], own.array)
    assert laid.size == SIZE
    assert laid.place == io.read(segments / "images" / "a").place
    elsewhere = series(segments / "c", np.zeros(SIZE, int), origin=(10, -20, 300))
    with pytest.raises(ValueError, match=r"a\.dcm: 810 of its voxels lie outside of its image"):
        io.read_labels(segments / "masks" / "a.dcm", image=elsewhere)


def test_a_plain_volume_takes_segments_as_they_are_stored(segments: Path) -> None:
    """Of an image that states no place, only the size can be compared."""
    pairs = find_pairs(segments)
    io.write(segments / "flat.tif", Image(np.ones((1, *SIZE)), "czyx", (2, 0.5, 0.75), "mm"))
    with pytest.raises(ValueError, match=r"is \(6, 40, 50\) pixels, its mask .*a\.dcm \(3, 40, 50\)"):
        load_dataset([Pair(segments / "flat.tif", pairs[0].mask, "a")])


def test_segments_of_a_volume_are_not_those_of_a_picture(segments: Path) -> None:
    io.write(segments / "a.png", Image(np.ones((1, *SIZE[1:]), np.uint8), "cyx", (1, 1)))
    with pytest.raises(ValueError, match=r"a\.dcm: 6 frames of 2 segments, but its image is a picture"):
        io.read_labels(segments / "masks" / "a.dcm", image=segments / "a.png")


def test_contours_and_segments_lie_on_a_converted_volume_too(segments: Path) -> None:
    image_ = io.read(segments / "images" / "a")
    io.write(segments / "a.nii.gz", image_)
    for mask in (
        segments / "masks" / "a.dcm",
        rtstruct(segments / "rs.dcm", {"liver": [in_body(box(3.2, 5.2, 12.4, 20.1), k) for k in (1, 2)]}),
    ):
        on_series = io.read_labels(mask, image=segments / "images" / "a")
        assert np.array_equal(io.read_labels(mask, image=segments / "a.nii.gz").array, on_series.array)
        assert on_series.array.any()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("is_placed", [True, False])
def test_segments_of_pictures(tmp_path: Path, kind: str, is_placed: bool) -> None:
    """Of a radiograph, or of one slice that is read as a picture: as they are stored."""
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'unetkit[dicom]'")
    source = slices(series(tmp_path / "one", np.random.default_rng(0).integers(0, 100, (1, *SIZE[1:]))))[0]
    if not is_placed:
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
            delattr(source, name)
        source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # a radiograph
    (tmp_path / "images").mkdir()
    source.save_as(tmp_path / "images" / "a.dcm")
    source.SeriesInstanceUID = "1.5"  # one slice of a series alone in a folder is a volume
    source.save_as(tmp_path / "images" / "b.dcm")
    drawn = blocks(1, 2)[1]
    array = np.stack([drawn == 1, drawn == 2], -1)[None] * np.float32(0.7) if kind == "FRACTIONAL" else drawn[None]
    segmentation(tmp_path / "masks" / "a.dcm", [source], array, ("lung", "heart"), kind)
    image_ = io.list_images(tmp_path / "images")[0]
    dataset = load_dataset([Pair(image_, tmp_path / "masks" / "a.dcm", "a")])
    assert dataset.class_names == ["background", "lung", "heart"]
    assert np.array_equal(dataset.cases[0].labels, drawn)
