"""A series over time from pairing to scores: each time point an image of its own, named FILE#tNUMBER."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.data.split import split
from unetkit.inference.predictor import load_model
from unetkit.measurements.table import measure
from unetkit.metrics.folders import evaluate
from unetkit.training.data_record import check_record, write_record

RUNS = Path(__file__).parents[1] / "version_0_1" / "runs"
FILM = {"2d": ("TYX", (3, 40, 52)), "3d": ("TZYX", (3, 9, 24, 28))}


def film(path: Path, axes: str = "TYX", size: tuple[int, ...] = (3, 40, 52), seed: int = 0) -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 200, size).astype(np.uint8)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": axes})
    return array


@pytest.mark.parametrize("run", ["2d", "3d"])
def test_each_time_point_gets_its_mask(tmp_path: Path, run: str) -> None:
    array = film(tmp_path / "in" / "film.tif", *FILM[run])
    predictor = load_model(RUNS / run)
    made = predictor.predict_files([tmp_path / "in"], tmp_path / "out")
    assert [each.mask.name for each in made] == ["film#t1.tif", "film#t2.tif", "film#t3.tif"]
    for i, each in enumerate(made, start=1):
        io.write(tmp_path / f"{i}.tif", io.read(tmp_path / "in" / f"film.tif#t{i}"))
        (alone,) = predictor.predict_files([tmp_path / f"{i}.tif"], tmp_path / "alone")
        assert np.array_equal(io.read_labels(each.mask).array, io.read_labels(alone.mask).array)
        assert io.read_labels(each.mask).array.shape == array.shape[1:]
    # By the file and by one time point alike; what is there is kept, and one region serves all.
    assert predictor.predict_files([tmp_path / "in" / "film.tif"], tmp_path / "out", existing="resume") == []
    inside = np.zeros(array.shape[1:], np.uint8)
    inside[..., 5:20, 8:30] = 1
    io.write_labels(tmp_path / "roi.tif", inside)
    cut = predictor.predict_files([tmp_path / "in" / "film.tif"], tmp_path / "cut", within=tmp_path / "roi.tif")
    for whole, part in zip(made, cut, strict=True):
        expected = np.where(inside > 0, io.read_labels(whole.mask).array, 0)
        assert np.array_equal(io.read_labels(part.mask).array, expected)
    tifffile.imwrite(
        tmp_path / "rois.tif", np.stack([inside, inside * 0, inside * 2]), imagej=True, metadata={"axes": FILM[run][0]}
    )
    cut = predictor.predict_files([tmp_path / "in" / "film.tif"], tmp_path / "each", within=tmp_path / "rois.tif")
    for i, (whole, part) in enumerate(zip(made, cut, strict=True)):
        expected = np.where((inside > 0) & (i != 1), io.read_labels(whole.mask).array, 0)
        assert np.array_equal(io.read_labels(part.mask).array, expected)
    (tmp_path / "more").mkdir()
    film(tmp_path / "more" / "film.tif", FILM[run][0], (4, *FILM[run][1][1:]))
    with pytest.raises(ValueError, match=r"film\.tif#t4: .*rois\.tif has 3 regions, #t1, #t2, #t3"):
        predictor.predict_files([tmp_path / "more"], tmp_path / "four", within=tmp_path / "rois.tif")
    with pytest.raises(ValueError, match=r"film\.tif#t4: holds 3 time points"):
        predictor.predict_files([tmp_path / "in" / "film.tif#t4"], tmp_path / "one")


def masks_of(folder: Path, array: np.ndarray, form: str) -> None:
    """Masks of a film: one file per time point, or one for all in the way of some program."""
    folder.mkdir(exist_ok=True)
    masks = (array > 100).astype(np.uint8)
    if "{" in form:
        for i, mask in enumerate(masks, start=1):
            io.write_labels(folder / form.format(i), mask)
    elif form.startswith("ImageJ"):
        axes = "TYX" if form.endswith("frames") else "ZYX"
        tifffile.imwrite(folder / "film.tif", masks, imagej=True, metadata={"axes": axes})
    else:
        tifffile.imwrite(folder / "film_mask.tif", masks, photometric="minisblack")


FORMS = ["film#t{}.png", "film_t{:03d}.png", "film_t{}_mask.png", "ImageJ, frames", "ImageJ, slices", "pages"]


@pytest.mark.parametrize("form", FORMS)
def test_series_are_paired_trained_on_and_scored(tmp_path: Path, form: str) -> None:
    array = film(tmp_path / "images" / "film.tif")
    masks_of(tmp_path / "masks", array, form)
    pairs = find_pairs(tmp_path)
    assert [(pair.image.name, pair.name, pair.group) for pair in pairs] == [
        (f"film.tif#t{i}", f"film#t{i}", None) for i in (1, 2, 3)
    ]
    cases = load_dataset(pairs).cases
    assert all(np.array_equal(case.classes, frame > 100) for case, frame in zip(cases, array, strict=True))
    write_record(tmp_path / "data.json", cases)
    check_record(tmp_path / "data.json", load_dataset(pairs).cases)
    masks_of(tmp_path / "out", array, "film#t{}.tif")  # as predict names them
    scores = evaluate(tmp_path / "out", tmp_path / "masks")
    assert [image.name for image in scores.per_image] == ["film#t1", "film#t2", "film#t3"]
    assert scores.dice == 1
    table = measure([tmp_path / "out"], tmp_path / "tables", images=tmp_path / "images")
    assert table.masks == 3
    assert "mean_0" in table.table.read_text().splitlines()[0]


def geojson(path: Path, corners: list[tuple[int, int]], times: list[int | None]) -> None:
    """Squares of 10 x 12 pixels as QuPath writes them, with the plane of those that are not on the first."""
    features = []
    for (y, x), time in zip(corners, times, strict=True):
        ring = [[x, y], [x + 12, y], [x + 12, y + 10], [x, y + 10], [x, y]]
        plane = {} if time is None else {"plane": {"c": -1, "z": 0, "t": time}}
        geometry = {"type": "Polygon", "coordinates": [ring], **plane}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}})
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_outlines_of_a_film_are_those_of_their_time(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'unetkit[geo]'")
    film(tmp_path / "images" / "film.tif")
    geojson(tmp_path / "masks" / "film.geojson", [(2, 3), (20, 30), (5, 8)], [None, 2, 1])
    expected = np.zeros((3, 40, 52), bool)
    expected[0, 2:12, 3:15] = expected[2, 20:30, 30:42] = expected[1, 5:15, 8:20] = True
    pairs = find_pairs(tmp_path)
    assert [pair.mask.name for pair in pairs] == [f"film.geojson#t{i}" for i in (1, 2, 3)]
    cases = load_dataset(pairs).cases
    assert all(np.array_equal(case.classes > 0, mask) for case, mask in zip(cases, expected, strict=True))
    masks_of(tmp_path / "out", expected.astype(np.uint8) * 200, "film#t{}.tif")
    assert evaluate(tmp_path / "out", tmp_path / "masks").dice == 1
    predictor = load_model(RUNS / "2d")
    whole = predictor.predict_files([tmp_path / "images"], tmp_path / "whole")
    cut = predictor.predict_files([tmp_path / "images"], tmp_path / "cut", within=tmp_path / "masks" / "film.geojson")
    for each, part, mask in zip(whole, cut, expected, strict=True):
        assert np.array_equal(io.read_labels(part.mask).array, np.where(mask, io.read_labels(each.mask).array, 0))
    # Without a time they are those of all.
    geojson(tmp_path / "masks" / "film.geojson", [(2, 3)], [0])
    assert [int((case.classes > 0).sum()) for case in load_dataset(find_pairs(tmp_path)).cases] == [120] * 3


def test_rois_of_a_film_are_those_of_their_time(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="roifile is not installed: pip install 'unetkit[rois]'")
    pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'unetkit[geo]'")
    film(tmp_path / "images" / "film.tif")
    (tmp_path / "masks").mkdir()
    rois = []
    for i, place in enumerate(({"position": 2}, {"t_position": 3}, {})):
        roi = roifile.ImagejRoi.frompoints(np.array([[5, 5], [15, 5], [15, 10], [5, 10]]), name=f"roi{i}")
        for name, value in place.items():
            setattr(roi, name, value)
        rois.append(roi)
    roifile.roiwrite(tmp_path / "masks" / "film_RoiSet.zip", rois[:2], mode="w")
    pixels = [int((case.classes > 0).sum()) for case in load_dataset(find_pairs(tmp_path)).cases]
    assert pixels == [0, 50, 50]
    roifile.roiwrite(tmp_path / "masks" / "film_RoiSet.zip", rois[2:], mode="w")  # on all of them
    assert [int((case.classes > 0).sum()) for case in load_dataset(find_pairs(tmp_path)).cases] == [50] * 3


def test_a_mask_of_other_times_is_not_paired(tmp_path: Path) -> None:
    array = film(tmp_path / "images" / "film.tif")
    masks_of(tmp_path / "masks", array[:2], "pages")
    with pytest.raises(ValueError, match=r"film\.tif#t3: no mask named film#t3\.\*"):
        find_pairs(tmp_path)


def test_time_points_of_a_file_stay_on_one_side(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        array = film(tmp_path / "images" / f"{name}.tif", seed=seed)
        masks_of(tmp_path / "masks", array, f"{name}_t{{}}.png")
    pairs = find_pairs(tmp_path)
    assert {pair.name: pair.group for pair in pairs} == {f"{n}#t{i}": n for n in "abc" for i in (1, 2, 3)}
    training, held_out = split(pairs, fraction=0.3, seed=0)
    assert {pair.group for pair in training}.isdisjoint(pair.group for pair in held_out)


def test_an_omezarr_of_times_holds_labels_of_as_many(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'unetkit[zarr]'")
    array = np.random.default_rng(0).integers(0, 200, (3, 40, 52)).astype(np.uint8)
    axes = [{"name": name, "type": "time" if name == "t" else "space"} for name in "tyx"]
    scale = [{"type": "scale", "scale": [1.0] * 3}]
    about = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    root = zarr.open_group(tmp_path / "data" / "film.ome.zarr", mode="w", zarr_format=3)
    labels = root.create_group("labels")
    for group, values in ((root, array), (labels.create_group("cells"), (array > 100).astype(np.uint8))):
        group.create_array("0", shape=array.shape, chunks=(1, 40, 52), dtype=np.uint8)[:] = values
        group.attrs["ome"] = {"version": "0.5", "multiscales": [about]}
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    pairs = find_pairs(tmp_path / "data")
    assert [(pair.name, pair.mask.name) for pair in pairs] == [(f"film#t{i}", f"cells#t{i}") for i in (1, 2, 3)]
    cases = load_dataset(pairs).cases
    assert all(np.array_equal(case.classes, frame > 100) for case, frame in zip(cases, array, strict=True))
    (made,) = load_model(RUNS / "2d").predict_files([tmp_path / "data" / "film.ome.zarr#t2"], tmp_path / "out")
    assert made.mask.name == "film#t2.ome.zarr"
