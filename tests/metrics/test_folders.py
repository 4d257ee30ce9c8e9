"""Folders of masks compared, on written files and on the real sets."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from unetkit import io
from unetkit.errors import Problems
from unetkit.image import Image, WorldAffine
from unetkit.labels.options import LabelOptions
from unetkit.metrics.boundaries import boundary_f1
from unetkit.metrics.evaluation import evaluate_arrays
from unetkit.metrics.folders import evaluate

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, labels)
    else:
        Picture.fromarray(labels).save(path)


def save_all(folder, masks, pattern="{}.png", dtype=np.uint8):
    for name, labels in masks.items():
        save(folder / pattern.format(name), np.asarray(labels, dtype=dtype))
    return folder


def masks(values, n=3, *, seed=0, shape=(12, 10)):
    rng = np.random.default_rng(seed)
    return {f"im{i}": rng.choice(np.array(values), shape) for i in range(n)}


def times(factor, labels):
    return {name: one * factor for name, one in labels.items()}


@pytest.mark.parametrize(
    "pattern", ["{}.png", "{}.tif", "{}_mask.png", "{}_labels.tif", "{}_label.png", "{}_seg.png", "{}_gt.png"]
)
def test_pairs_by_name(tmp_path, pattern):
    predicted, truth = masks([0, 1]), masks([0, 1], seed=1)
    evaluation = evaluate(save_all(tmp_path / "p", times(255, predicted)), save_all(tmp_path / "t", truth, pattern))
    expected = evaluate_arrays([(n, predicted[n], truth[n]) for n in predicted], ["background", "foreground"])
    assert (evaluation.per_image, evaluation.pooled, evaluation.mean) == (
        expected.per_image,
        expected.pooled,
        expected.mean,
    )
    assert evaluation.notes[0] == "predicted masks hold 0 and 255 in all 3 files: read as background and foreground"
    assert evaluation.notes[1] == "true masks hold 0 and 1 in all 3 files: read as background and foreground"


def test_two_files_need_no_common_name(tmp_path):
    save(tmp_path / "result.png", np.array([[0, 255, 255]], dtype=np.uint8))
    save(tmp_path / "expert.tif", np.array([[0, 0, 1]], dtype=np.uint16))
    evaluation = evaluate(tmp_path / "result.png", tmp_path / "expert.tif")
    assert evaluation.mean.dice == pytest.approx(2 / 3)
    assert evaluation.per_image[0].name == "result"


def test_predictions_that_carry_the_suffix_themselves(tmp_path):
    both = {"a": [[0, 1]], "a_mask": [[1, 0]], "b_seg": [[1, 1]]}
    evaluation = evaluate(save_all(tmp_path / "p", both), save_all(tmp_path / "t", both))
    assert evaluation.pixel_error == 0.0
    assert sorted(image.name for image in evaluation.per_image) == ["a", "a_mask", "b_seg"]


def test_progress_goes_to_the_end(tmp_path):
    shares = []

    class Progress:
        def update(self, done=0.0, total=0.0, message="", **values):
            shares.append(done / total)

    folder = save_all(tmp_path / "p", masks([0, 1], n=2))
    evaluate(folder, folder, progress=Progress())
    assert shares == [0, 0.25, 0.5, 0.75]


def test_truths_left_over_are_a_note(tmp_path):
    truth = masks([0, 1], n=5)
    predicted = {name: truth[name] for name in ("im1", "im3")}
    evaluation = evaluate(save_all(tmp_path / "p", predicted), save_all(tmp_path / "t", truth))
    assert len(evaluation.per_image) == 2
    assert "3 of 5 truths have no prediction and are left out" in evaluation.notes


def test_all_problems_of_pairing_at_once(tmp_path):
    save_all(tmp_path / "p", masks([0, 1], n=3))
    save_all(tmp_path / "p", {"im2": [[0, 1]]}, "{}.tif")
    save_all(tmp_path / "t", masks([0, 1], n=2))
    save_all(tmp_path / "t", {"im0": [[0, 1]]}, "{}_gt.png")
    save_all(tmp_path / "t", {"other": [[0, 1]]})
    with pytest.raises(Problems, match="4 problems") as caught:
        evaluate(tmp_path / "p", tmp_path / "t")
    message = str(caught.value)
    assert "im2: 2 predictions share this name (im2.png, im2.tif)" in message
    assert "im0: 2 truths share this name (im0.png, im0_gt.png)" in message
    assert "no truth named im2.*" in message
    assert "other.png: no prediction named other.*" in message


def test_all_problems_of_files_at_once(tmp_path):
    truth = masks([0, 1], n=4)
    save_all(tmp_path / "t", truth)
    save_all(tmp_path / "p", truth)
    save(tmp_path / "p" / "im1.png", np.zeros((10, 12), dtype=np.uint8))
    (tmp_path / "p" / "im2.png").write_bytes(b"no picture")
    save(tmp_path / "p" / "im3.png", np.zeros((5, 12), dtype=np.uint8))
    with pytest.raises(Problems, match="3 problems") as caught:
        evaluate(tmp_path / "p", tmp_path / "t")
    assert {path.name for path in caught.value.bad_files} == {"im1.png", "im2.png", "im3.png"}
    assert "im1.png: predicted mask has size (10, 12) and truth (12, 10)" in str(caught.value)
    assert "im2.png: " in str(caught.value)
    assert "im3.png: predicted mask has size (5, 12) and truth (12, 10)" in str(caught.value)


def test_paths_that_do_not_fit(tmp_path):
    folder = save_all(tmp_path / "p", masks([0, 1], n=1))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"truth: .*missing does not exist"):
        evaluate(folder, tmp_path / "missing")
    with pytest.raises(ValueError, match=r"p is a folder and truth .*im0.png is a file"):
        evaluate(folder, folder / "im0.png")
    with pytest.raises(ValueError, match=r"none: no images among no files"):
        evaluate(tmp_path / "none", folder)


def test_ids_compare_with_a_foreground(tmp_path):
    ids = {f"im{i}": np.kron(np.arange(1, 7 + i).reshape(-1, 1), [[1, 0, 1], [0, 0, 0]]) for i in range(3)}
    ids = {name: np.where(np.arange(one.shape[1]) == 0, one, 0) for name, one in ids.items()}
    save_all(tmp_path / "t", ids, "{}.tif", np.uint16)
    save_all(tmp_path / "p", {name: 255 * (one > 0) for name, one in ids.items()})
    evaluation = evaluate(tmp_path / "p", tmp_path / "t")
    assert evaluation.pixel_error == 0.0
    assert "read as instances" in evaluation.notes[1]


def test_objects_are_scored_where_the_truth_tells_them_apart(tmp_path):
    truth = {f"im{i}": np.zeros((20, 30), int) for i in range(3)}
    for i, one in enumerate(truth.values()):
        for number in range(9 - i):
            row, column = divmod(number, 4)
            one[2 + 2 * row : 4 + 2 * row, 3 * column : 3 + 3 * column] = number + 1
    save_all(tmp_path / "t", truth, "{}.tif", np.uint16)
    blind = evaluate(save_all(tmp_path / "p", {name: 255 * (one > 0) for name, one in truth.items()}), tmp_path / "t")
    assert blind.mean.dice == 1.0
    assert (blind.objects.truth, blind.objects.predicted, blind.objects.ap50) == (8, 1, 0)
    assert blind.per_image[0].objects.truth == 9
    same = evaluate(save_all(tmp_path / "q", truth, "{}.tif", np.uint16), tmp_path / "t").objects
    assert (same.ap50, same.mean_ap, same.panoptic, same.seg, same.predicted) == (1, 1, 1, 1, 8)
    assert same.describe().startswith("objects: AP50 1.0000, AP75 1.0000, mean AP 1.0000")
    assert evaluate(tmp_path / "p", tmp_path / "p").objects is None


@pytest.mark.parametrize(
    "predicted, truth, values",
    [
        ([0, 1], [0, 1, 2], (0, 1, 2)),  # class 2 never predicted
        ([0, 1, 2], [0, 2], (0, 1, 2)),  # class 1 not in these images
        ([0, 1, 3], [0, 1, 2], (0, 1, 2, 3)),  # either lacks one
        ([0], [0, 1, 2], (0, 1, 2)),  # nothing predicted
        ([0, 2], [0], (0, 2)),  # nothing there
        ([1], [0, 1], (0, 1)),
        ([1], [1, 2], (1, 2)),
        ([0, 1, 2], [1], (0, 1, 2)),
    ],
)
def test_a_side_that_lacks_classes_means_the_same_by_the_others(tmp_path, predicted, truth, values):
    sides = masks(predicted), masks(truth, seed=1)
    evaluation = evaluate(save_all(tmp_path / "p", sides[0]), save_all(tmp_path / "t", sides[1]))
    index = [{name: np.searchsorted(values, one) for name, one in side.items()} for side in sides]
    names = [score.name for score in evaluation.pooled]
    expected = evaluate_arrays([(name, index[0][name], index[1][name]) for name in index[0]], names)
    for image, same in zip(evaluation.per_image, expected.per_image, strict=True):
        assert (image.name, image.confusion, image.boundaries) == (same.name, same.confusion, same.boundaries)
    lacking = [n for n, value in zip(names, values, strict=True) if value not in predicted]
    assert (f"predicted: no pixel of {', '.join(lacking)}" in evaluation.notes) == bool(lacking)


@pytest.mark.parametrize("ignored", [255, 9])
def test_pixels_not_labelled_do_not_count(tmp_path, ignored):
    truth = {"a": [[0, 1, ignored, ignored]], "b": [[1, 0, 1, 1]], "c": [[ignored] * 4]}
    predicted = {"a": [[0, 1, 0, 1]], "b": [[1, 0, 1, 1]], "c": [[1, 1, 0, 0]]}
    options = {} if ignored == 255 else {"ignore": ignored}
    save_all(tmp_path / "t", truth)
    evaluation = evaluate(save_all(tmp_path / "p", predicted), tmp_path / "t", **options)
    assert evaluation.pixel_error == 0.0
    assert "not counted, without a labelled pixel: c" in evaluation.notes
    # 255 is the foreground of one side and "not labelled" of the other
    evaluation = evaluate(
        save_all(tmp_path / "q", times(255, {n: np.array(one) for n, one in predicted.items()})),
        tmp_path / "t",
        **options,
    )
    assert evaluation.pixel_error == 0.0


def test_different_numbers_of_classes(tmp_path):
    save_all(tmp_path / "p", masks([0, 255]))
    save_all(tmp_path / "t", masks([0, 1, 2], seed=1))
    with pytest.raises(ValueError, match=r"predictions have 2 classes and the truth 3.*Predicted masks hold 0 and 255"):
        evaluate(tmp_path / "p", tmp_path / "t")
    assert evaluate(tmp_path / "p", tmp_path / "t", labels="instances").pooled[1].name == "foreground"
    save_all(tmp_path / "t", masks([0, 1, 2, 255], seed=1))  # 255 is no class here, but foreground there
    with pytest.raises(ValueError, match="predictions have 2 classes and the truth 3"):
        evaluate(tmp_path / "p", tmp_path / "t")


def test_names_of_classes(tmp_path):
    folder = save_all(tmp_path / "p", masks([0, 50, 100]))
    assert [score.name for score in evaluate(folder, folder).pooled] == ["background", "class 50", "class 100"]
    named = evaluate(folder, folder, class_names=["none", "glia", "axon"])
    assert [score.name for score in named.pooled] == ["none", "glia", "axon"]
    with pytest.raises(ValueError, match=r"2 class names \('none', 'glia'\) for 3 classes"):
        evaluate(folder, folder, class_names=["none", "glia"])


@pytest.mark.parametrize("knowing", [(True, True), (False, True), (True, False)])
def test_tolerance_is_in_pixels_along_the_finest_axis(tmp_path, knowing):
    rng = np.random.default_rng(0)
    volumes = [(rng.random((5, 14, 16)) < 0.1).astype(np.uint8) for _ in range(2)]
    paths = [tmp_path / "p.tif", tmp_path / "t.tif"]
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    for path, volume, is_known in zip(paths, volumes, knowing, strict=True):
        stated = {"imagej": True, "resolution": (5, 5), "metadata": metadata} if is_known else {}  # 0.5, 0.2, 0.2 um
        tifffile.imwrite(path, volume, **stated)
    evaluation = evaluate(*paths, tolerance=1.5)
    expected = boundary_f1(volumes[0] == 1, volumes[1] == 1, tolerance=1.5, spacing=(2.5, 1.0, 1.0))
    assert evaluation.pooled[1].boundary_f1 == pytest.approx(expected)
    assert expected != boundary_f1(volumes[0] == 1, volumes[1] == 1, tolerance=1.5)


def real(name):
    folder = DATA / name / "masks"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


def test_nuclei_found_by_a_threshold(tmp_path):
    """16-bit ids against 0/255 masks of a subset, one with a hole of known size."""
    folder = real("nuclei")
    paths = sorted(folder.glob("*.png"))[:4]
    foregrounds = {path.stem: np.array(Picture.open(path)) > 0 for path in paths}
    erased = np.argwhere(foregrounds[paths[0].stem])[:50]
    foregrounds[paths[0].stem][tuple(erased.T)] = False
    evaluation = evaluate(save_all(tmp_path / "p", times(255, foregrounds)), folder)
    assert [score.pixels for score in evaluation.pooled][1] - sum(map(np.sum, foregrounds.values())) == 50
    assert evaluation.pooled[1].precision == 1.0
    assert evaluation.ranked()[0].name == paths[0].stem
    assert "read as instances" in evaluation.notes[1]


def test_slices_of_isbi2012_against_themselves_and_the_next(tmp_path):
    folder = real("isbi2012")
    for i in (0, 1):
        shutil.copy(folder / f"0{i + 1}.png", (tmp_path / f"0{i}.png"))
    evaluation = evaluate(tmp_path, folder)
    now, after = (np.array(Picture.open(folder / f"0{i}.png")) > 0 for i in (0, 1))
    assert evaluation.per_image[0].pixel_error == pytest.approx(np.mean(now != after))
    assert 0.4 < evaluation.mean.boundary_f1 < evaluation.mean.dice < 1
    assert evaluate(folder / "00.png", folder / "00.png").mean.surface_dice == 1.0


def test_floods_with_land_predicted_everywhere(tmp_path):
    folder = real("floods")
    for path in folder.glob("*.tif"):
        save(tmp_path / path.name, np.zeros((512, 512), dtype=np.uint8))
    evaluation = evaluate(tmp_path, folder)
    truth = np.concatenate([tifffile.imread(path).ravel() for path in folder.glob("*.tif")])
    assert evaluation.pixel_error == pytest.approx(np.sum(truth == 1) / np.sum(truth >= 0))
    assert evaluation.mean.dice == evaluation.mean.boundary_f1 == 0.0
    assert any("without a labelled pixel: Ghana_83483" in note for note in evaluation.notes)


def save_map(path, labels, nodata):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_labels(path, np.asarray(labels), nodata=nodata)


@pytest.mark.parametrize("nodata, values", [(255, (0, 1)), (254, (0, 255)), (9, (0, 3, 7))])
def test_pixels_without_data_by_the_tag_of_a_prediction_are_not_counted(tmp_path, nodata, values):
    predicted, truth = masks(values), masks(values, seed=1)
    expected = []
    for name in predicted:
        gone = np.zeros((12, 10), bool)
        gone[:4] = True
        save_map(tmp_path / f"p/{name}.tif", np.where(gone, nodata, predicted[name]).astype(np.uint8), nodata)
        save_map(tmp_path / f"t/{name}.tif", truth[name].astype(np.uint8), None)
        index = [np.searchsorted(values, one[name]) for one in (predicted, truth)]
        expected.append((name, np.where(gone, 255, index[0]), index[1]))
    evaluation = evaluate(tmp_path / "p", tmp_path / "t")
    names = [score.name for score in evaluation.pooled]
    assert [image.confusion for image in evaluation.per_image] == [
        image.confusion for image in evaluate_arrays(expected, names).per_image
    ]
    assert sum(map(sum, evaluation.per_image[0].confusion)) == 80


def test_a_prediction_without_any_data_is_not_counted(tmp_path):
    for name, labels in masks([0, 1], n=2).items():
        save_map(tmp_path / f"p/{name}.tif", np.full_like(labels, 255) if name == "im1" else labels, 255)
        save_map(tmp_path / f"t/{name}.tif", labels, None)
    evaluation = evaluate(tmp_path / "p", tmp_path / "t")
    assert evaluation.mean.dice == 1
    assert "not counted, without a labelled pixel: im1" in evaluation.notes


def test_background_counts_even_where_a_tag_calls_it_no_data(tmp_path):
    save_map(tmp_path / "p/a.tif", np.array([[0, 1, 0, 1]], np.uint8), 0)
    save_map(tmp_path / "t/a.tif", np.array([[1, 1, 0, 0]], np.uint8), None)
    assert evaluate(tmp_path / "p", tmp_path / "t").per_image[0].confusion == ((1, 1), (1, 1))


# --- class numbers, pictures, and nothing at all ---


@pytest.mark.parametrize("shape", [(12, 10), (5, 6, 7)])
@pytest.mark.parametrize(
    "predicted, truth, dice",
    [
        ([0, 1], [0, 2], 0.0),  # numbers of two classes
        ([0, 24], [0, 26], 0.0),
        ([0, 1, 2], [0, 3, 4], 0.0),
        ([0, 255], [0, 2], 1.0),  # white is foreground
        ([0, 128], [0, 255], 1.0),
        ([0, 1, 2], [0, 127, 254], 1.0),
    ],
)
def test_numbers_of_other_classes_are_not_one_foreground(tmp_path, predicted, truth, dice, shape):
    index = masks(range(len(truth)), shape=shape)
    sides = [{name: np.take(values, one) for name, one in index.items()} for values in (predicted, truth)]
    evaluation = evaluate(*(save_all(tmp_path / s, one, "{}.tif") for s, one in zip("pt", sides, strict=True)))
    assert evaluation.mean.dice == dice
    doubts = [note for note in evaluation.notes if note.startswith("looks wrong: no value in common but background")]
    assert len(doubts) == (dice == 0)


def test_numbers_of_other_classes_are_one_foreground_where_that_is_said(tmp_path):
    one = masks([0, 1])
    save_all(tmp_path / "p", one)
    save_all(tmp_path / "t", times(2, one))
    assert "--labels binary compares both as foreground" in " ".join(evaluate(tmp_path / "p", tmp_path / "t").notes)
    assert evaluate(tmp_path / "p", tmp_path / "t", labels="binary").mean.dice == 1.0


@pytest.mark.parametrize("shape", [(12, 10), (5, 6, 7)])
def test_empty_against_empty_is_a_score(tmp_path, shape):
    folder = save_all(tmp_path / "p", masks([0], shape=shape), "{}.tif")
    evaluation = evaluate(folder, folder)
    assert (evaluation.pixel_error, evaluation.mean.dice, evaluation.pooled[1].pixels) == (0.0, 1.0, 0)
    assert evaluation.notes[0] == "predicted and true masks show background only, in all 3 files of both sides"
    assert "on neither side, left out of the mean: foreground" in evaluation.notes


def test_images_without_foreground_are_named_and_the_conventions_stand_in_the_result(tmp_path):
    one = masks([0, 1]) | {"blank": np.zeros((12, 10))}
    evaluation = evaluate(save_all(tmp_path / "p", one), save_all(tmp_path / "t", one))
    assert "without foreground on both sides, Dice 1 each, not in the mean over images: blank" in evaluation.notes
    assert "0.5 is no match" in json.loads(evaluation.to_json())["conventions"]["ties"]


def test_pixels_without_data_of_a_truth_are_not_counted(tmp_path):
    save_map(tmp_path / "t/a.tif", np.array([[0, 1, 9, 9]], np.uint8), 9)
    save_map(tmp_path / "p/a.tif", np.array([[0, 1, 1, 0]], np.uint8), None)
    assert evaluate(tmp_path / "p", tmp_path / "t").per_image[0].confusion == ((1, 0), (0, 1))


def test_a_map_stored_another_way_up_is_turned_and_one_elsewhere_is_refused(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (6, 7)).astype(np.uint8)
    predicted = labels.copy()
    predicted[0] = 9  # without data
    for folder in ("predicted", "truth"):
        (tmp_path / folder).mkdir()
    io.write_labels(tmp_path / "truth/a.tif", labels, like=like_map(labels, -1.0, 6.0))
    io.write_labels(tmp_path / "predicted/a.tif", predicted[::-1], like=like_map(labels, 1.0, 0.0), nodata=9)
    scores = evaluate(tmp_path / "predicted", tmp_path / "truth")
    assert (scores.per_image[0].pixel_error, np.sum(scores.per_image[0].confusion)) == (0, 5 * 7)
    io.write_labels(tmp_path / "predicted/a.tif", predicted, like=like_map(labels, -1.0, 15.0), nodata=9)
    with pytest.raises(Problems, match=r"predicted/a\.tif: lies elsewhere than its counterpart, by up to 9 along y"):
        evaluate(tmp_path / "predicted", tmp_path / "truth")


def test_a_volume_that_lies_elsewhere_is_refused(tmp_path):
    labels = np.ones((3, 4, 5), np.uint8)
    for folder, x in (("predicted", 0.0), ("truth", 9.0)):
        (tmp_path / folder).mkdir()
        affine = ((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        place = WorldAffine(affine, "RAS", labels.shape)
        io.write_labels(tmp_path / folder / "a.nii", Image(labels, "zyx", (1.0, 1.0, 1.0), "mm", place=place))
    with pytest.raises(Problems, match=r"predicted/a\.nii: lies elsewhere than its counterpart, by up to 9 along x"):
        evaluate(tmp_path / "predicted", tmp_path / "truth")


def like_map(labels, y_step, y):
    matrix = (1.0, 0.0, 0.0, 0.0, 0.0, y_step, 0.0, y, *[0.0] * 7, 1.0)
    return Image(labels, "yx", (1.0, 1.0), georeference=io.GeoReference(matrix=matrix))


@pytest.mark.parametrize("pattern", ["{}_cp_masks.png", "{}_manual1.png", "mask_{}.png", "{}_Segmentation.tif"])
def test_truths_are_named_as_those_that_are_trained_on(tmp_path, pattern):
    drawn = masks([0, 255])
    predicted = save_all(tmp_path / "predicted", drawn)
    truth = save_all(tmp_path / "truth", drawn, pattern)
    assert evaluate(predicted, truth).mean.dice == 1


# --- what is stated, and colours ---


@pytest.mark.parametrize("shape", [(12, 10), (5, 6, 7)])
def test_a_statement_beside_the_truth_names_its_classes(tmp_path, shape):
    index = masks([0, 1, 2], shape=shape)
    save_all(tmp_path / "p", {name: np.take([0, 40, 40], one) for name, one in index.items()}, "{}.tif")
    save_all(tmp_path / "t", {name: np.take([0, 40, 90], one) for name, one in index.items()}, "{}.tif")
    (tmp_path / "t" / "labels.json").write_text('{"values": [0, 40], "names": ["soil", "root"], "ignore": 90}')
    evaluation = evaluate(tmp_path / "p", tmp_path / "t")
    assert [score.name for score in evaluation.pooled] == ["soil", "root"]
    assert evaluation.mean.dice == 1


def test_classes_and_ignored_values_are_those_of_a_person(tmp_path):
    save_all(tmp_path / "p", {"a": [[0, 1, 1]]})
    save_all(tmp_path / "t", {"a": [[0, 1, 7]]})
    options = LabelOptions(ignore=7, classes=((0, "none"), (1, "cell"), (2, "wall")))
    evaluation = evaluate(tmp_path / "p", tmp_path / "t", labels=options)
    assert [score.name for score in evaluation.pooled] == ["none", "cell", "wall"]
    assert np.sum(evaluation.per_image[0].confusion) == 2


def colourful(folder, index, colours):
    return save_all(folder, {name: np.take(np.array(colours), one, axis=0) for name, one in index.items()})


def test_colours_of_both_sides_are_compared_by_colour(tmp_path):
    colours = [(0, 0, 0), (200, 0, 0), (0, 200, 0)]
    index = masks([0, 1, 2])
    truth = colourful(tmp_path / "t", index, colours)
    index = {name: np.where(one == 1, 0, one) for name, one in index.items()}  # red is never predicted
    evaluation = evaluate(colourful(tmp_path / "p", index, colours), truth)
    assert any("#00c800 = 1, #c80000 = 2" in note for note in evaluation.notes)
    dice = {score.name: score.dice for score in evaluation.pooled}
    assert (dice["class 1"], dice["class 2"]) == (1.0, 0.0)


def test_numbers_against_colours_are_doubted(tmp_path):
    index = masks([0, 1, 2])
    truth = colourful(tmp_path / "t", index, [(0, 0, 0), (0, 200, 0), (200, 0, 0)])
    evaluation = evaluate(save_all(tmp_path / "p", index), truth)
    assert evaluation.mean.dice == 1
    assert any("holds numbers: are they in this order" in note for note in evaluation.notes)
