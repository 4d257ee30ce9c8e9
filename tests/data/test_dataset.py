"""From pairs of files to arrays: what is found out about them, every bad file named at once, and the split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.measure import label

from unetkit import io
from unetkit.data.dataset import Case, Dataset, load_dataset
from unetkit.data.normalise import standardise
from unetkit.data.pairs import find_pairs
from unetkit.data.split import split, train_val_split
from unetkit.image import Image, WorldAffine
from unetkit.labels.borders import border_weights
from unetkit.labels.kind import IGNORE_INDEX, LabelKind
from unetkit.metrics.folders import evaluate


def write_image(path, array, spacing=None, unit="px"):
    """An array (*spatial), or (C, *spatial) of 3 channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array)
    array = array if array.ndim == 4 or (array.ndim > 2 and array.shape[0] == 3) else array[None]
    ndim = array.ndim - 1
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[ndim], spacing or (1.0,) * ndim, unit))


def write_mask(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_labels(path, np.asarray(array))


def gray(seed=0, size=(40, 50)):
    return np.random.default_rng(seed).integers(1, 250, size, dtype=np.uint8)


def disc(size=(40, 50), value=255):
    y, x = np.ogrid[: size[0], : size[1]]
    return (((y - 15) ** 2 + (x - 20) ** 2 < 80) * value).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three good pairs."""
    for i in range(3):
        write_image(tmp_path / f"images/c{i}.png", gray(i))
        write_mask(tmp_path / f"masks/c{i}.png", disc())
    return tmp_path


def refused(folder, **options):
    with pytest.raises(ValueError, match=r"\S") as caught:
        load_dataset(find_pairs(folder), **options)
    return str(caught.value)


# --- good files ---


def test_cases_hold_what_the_files_hold(folder):
    shares = []

    class Bar:
        def update(self, done=0.0, total=0.0, message="", **values):
            shares.append((done, total))

    dataset = load_dataset(find_pairs(folder), progress=Bar())
    assert shares == [(1, 3), (2, 3), (3, 3)]
    assert (dataset.channels, dataset.ndim, dataset.spacing, dataset.unit) == (1, 2, (1.0, 1.0), "px")
    assert dataset.kind.kind == "binary"
    assert dataset.class_names == ["background", "foreground"]
    for i, case in enumerate(dataset.cases):
        assert (case.name, case.size, case.group, case.pixel_weights) == (f"c{i}", (40, 50), None, None)
        assert case.path == folder / f"images/c{i}.png"
        assert case.image.dtype == np.float32
        assert np.array_equal(case.image, standardise(gray(i)[None]))
        assert case.labels.dtype == np.uint8
        assert np.array_equal(case.labels, disc() // 255)
    assert dataset.class_pixels.tolist() == [3 * int((disc() == 0).sum()), 3 * int((disc() > 0).sum())]


def test_the_description_says_what_was_found(folder):
    text = "\n".join(load_dataset(find_pairs(folder)).describe())
    share = (disc() > 0).mean()
    assert "3 images, 1 channel: 3 of 40 x 50" in text
    assert "masks hold 0 and 255 in all 3 files: read as background and foreground" in text
    assert f"background {1 - share:.1%}; foreground {share:.1%}" in text


def test_volumes_with_spacing_and_classes(tmp_path):
    for i, step in enumerate((0.5, 0.7, 2.0)):
        array = gray(i, (8, 20, 24))
        write_image(tmp_path / f"images/v{i}.tif", array, spacing=(3.0, step, step), unit="µm")
        mask = np.zeros((8, 20, 24), np.uint8)
        mask[2:4, 5:9, 5:9], mask[5:7, 12:15, 3:9], mask[0] = 1, 4, 255
        write_mask(tmp_path / f"masks/v{i}.tif", mask)
    dataset = load_dataset(find_pairs(tmp_path), resample=False)
    assert (dataset.ndim, dataset.unit, dataset.n_resampled) == (3, "µm", 0)
    assert dataset.spacing == pytest.approx((3.0, 0.7, 0.7))
    brought = load_dataset(find_pairs(tmp_path))
    assert [case.size for case in brought.cases] == [(8, 14, 17), (8, 20, 24), (8, 57, 69)]
    assert "2 of 3 images have pixels of another size: resampled to 3 x 0.7 x 0.7 µm" in brought.notes
    assert dataset.class_names == ["class 0", "class 1", "class 4"]
    assert set(np.unique(dataset.cases[0].labels)) == {0, 1, 2, 255}
    assert dataset.class_pixels.sum() == 3 * 7 * 20 * 24  # what is not labelled does not count
    assert any(line == "voxel size 3 x 0.7 x 0.7 µm" for line in dataset.describe())


def write_volumes(folder, masks, *, spacing=None, unit="px"):
    for i, mask in enumerate(masks):
        write_image(folder / f"images/v{i}.tif", gray(i, mask.shape), spacing=spacing, unit=unit)
        write_mask(folder / f"masks/v{i}.tif", mask)
    return load_dataset(find_pairs(folder))


def test_a_voxel_size_that_no_file_says(tmp_path):
    lines = write_volumes(tmp_path, [np.arange(2 * 9 * 9).reshape(2, 9, 9).astype(np.uint8) % 2]).describe()
    assert "voxel size not stated by the files: taken to be the same along every axis" in lines
    assert not any("labelled" in line for line in lines)


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2), (0, 1, 2, 3, 4), (1, 2), (2, 3, 4)])
def test_planes_that_nobody_labelled(tmp_path, values):
    """255 beside class numbers is "not labelled", even in most of the planes and with each class in one piece."""
    mask = np.full((10, 30, 30), 255, np.uint8)
    for z in (2, 7):
        for i, value in enumerate(values):
            mask[z, :, 30 * i // len(values) : 30 * (i + 1) // len(values)] = value
    dataset = write_volumes(tmp_path, [mask, mask])
    assert (dataset.kind.kind, dataset.kind.ignore) == ("classes" if len(values) > 2 or min(values) else "binary", 255)
    assert dataset.kind.values == values
    assert dataset.labelled_share == pytest.approx(0.2)
    assert "20% of the voxels are labelled; the others are left out" in dataset.describe()
    for case in dataset.cases:
        assert (case.labels == 255).sum() == 8 * 900
        assert set(np.unique(case.labels)) == {*range(len(values)), 255}


@pytest.mark.parametrize(("n", "text"), [(1, "0.05% of"), (20, "1% of"), (1999, "99.95% of"), (1500, "75% of")])
def test_a_share_is_never_rounded_to_all_or_nothing(n, text):
    labels = np.full((40, 50), 255, np.uint8)
    labels.flat[:n] = 0
    case = Case("c", np.zeros((1, 40, 50), np.float32), labels, None, None, Path("c"))
    kind = LabelKind("binary", (0, 1), 255)
    dataset = Dataset([case], kind, 1, 2, (1.0, 1.0), "px", np.array([n, 0]), [])
    assert any(line.startswith(f"{text} the pixels are labelled") for line in dataset.describe())


def test_masks_without_a_labelled_pixel_are_named(tmp_path):
    mask = np.arange(40 * 50).reshape(40, 50).astype(np.uint8) % 3
    for i in range(4):
        write_image(tmp_path / f"images/c{i}.png", gray(i))
        write_mask(tmp_path / f"masks/c{i}.png", mask if i % 2 else np.full_like(mask, 255))
    lines = refused(tmp_path).splitlines()
    assert lines[0] == "2 unusable files:"
    for i, line in zip((0, 2), lines[1:], strict=True):
        assert line.endswith(
            f"c{i}.png: its mask {tmp_path}/masks/c{i}.png labels none of its 2000 pixels; leave both out"
        )


@pytest.mark.parametrize("ndim", [2, 3])
def test_scans_that_know_how_the_body_lies(tmp_path, monkeypatch, ndim):
    """Only where all files say so, and only volumes: a map's place on the earth does not turn its fields."""
    size = (4, 9, 9)[-ndim:]
    mask = np.arange(np.prod(size)).reshape(size).astype(np.uint8) % 2
    place = WorldAffine(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)), "RAS", (4, 9, 9))
    for places, oriented in ((2, ndim == 3), (1, False), (0, False)):

        def placed(files, options, places=places):
            known = int(files[0].stem[1:]) < places
            return replace(io.read(files[0]), place=place if known else None)

        monkeypatch.setattr("unetkit.data.kept.read_channels", placed)
        dataset = write_volumes(tmp_path / str(places), [mask, mask])
        assert dataset.is_oriented == oriented
        assert any("patches are not flipped" in note for note in dataset.notes) == oriented


def test_units_that_differ_are_not_mixed(tmp_path):
    write_image(tmp_path / "images/a.tif", gray(), spacing=(0.5, 0.5), unit="µm")
    write_image(tmp_path / "images/b.tif", gray())
    for name in "ab":
        write_mask(tmp_path / f"masks/{name}.tif", disc())
    dataset = load_dataset(find_pairs(tmp_path))
    assert (dataset.spacing, dataset.unit) == ((1.0, 1.0), "px")
    assert "pixel sizes in px and µm: not used" in dataset.notes


def test_gray_is_repeated_beside_colour(folder):
    write_image(folder / "images/c0.png", np.stack([gray(5), gray(6), gray(7)]))
    dataset = load_dataset(find_pairs(folder))
    assert dataset.channels == 3
    assert all(case.image.shape == (3, 40, 50) for case in dataset.cases)
    assert "2 of 3 files have fewer than 3 channels: their gray is repeated" in dataset.notes


def test_border_weights_belong_to_the_labels(folder):
    two = disc() + np.roll(disc(), 24, axis=1)
    write_mask(folder / "masks/c1.png", two)
    dataset = load_dataset(find_pairs(folder), border_weight=True)
    expected = border_weights(label(two > 0), class_weights=(1.0, 1.0))
    np.testing.assert_allclose(dataset.cases[1].pixel_weights, expected, atol=1e-6)
    assert np.asarray(dataset.cases[1].pixel_weights).max() > 2


def test_border_weights_of_ids_skip_what_is_not_labelled(tmp_path):
    ids = np.zeros((40, 50), np.int16)
    for i in range(8):
        ids[4:12, 6 * i : 6 * i + 4] = i + 1
    ids[20:30] = -1
    for i in range(2):
        write_image(tmp_path / f"images/{i}.tif", gray(i))
        write_mask(tmp_path / f"masks/{i}.tif", ids)
    case = load_dataset(find_pairs(tmp_path), labels="instances", border_weight=True, objects=False).cases[0]
    expected = border_weights(np.where(ids > 0, ids, 0), class_weights=(1.0, 1.0))
    np.testing.assert_allclose(case.pixel_weights, expected, atol=1e-6)
    assert set(np.unique(case.labels)) == {0, 1, 255}


def test_names_that_count_up_bring_advice(tmp_path):
    for name in ("00", "01", "02"):
        write_image(tmp_path / f"images/{name}.png", gray())
        write_mask(tmp_path / f"masks/{name}.png", disc())
    assert any("the names count up" in note for note in load_dataset(find_pairs(tmp_path)).notes)


def test_names_that_are_digits_but_no_numbers(tmp_path):
    for name in ("¹", "²", "³"):
        write_image(tmp_path / f"images/{name}.png", gray())
        write_mask(tmp_path / f"masks/{name}.png", disc())
    assert load_dataset(find_pairs(tmp_path)).notes == []


# --- bad files ---


def test_all_bad_files_are_named_at_once(folder):
    values = gray(1).astype(np.float32)
    values[:2, :2], values[3, 3] = np.nan, np.inf
    names = ("nan", "size", "cut", "text", "maskless", "photo")
    for name in names:
        write_image(folder / f"images/{name}.tif", values if name == "nan" else gray(9))
        write_mask(folder / f"masks/{name}.tif", disc((40, 51)) if name == "size" else disc())
    cut = folder / "images/cut.tif"
    cut.write_bytes(cut.read_bytes()[:900])
    (folder / "images/text.tif").write_text("hello")
    (folder / "masks/maskless.tif").write_bytes(b"")
    write_image(folder / "masks/photo.tif", np.stack([gray(1), gray(2), gray(3)]))
    lines = refused(folder).splitlines()
    assert lines[0] == "6 unusable files:"
    by_name = {name: [line for line in lines[1:] if f"/{name}.tif" in line] for name in names}
    assert all(len(found) == 1 for found in by_name.values()), lines
    assert "5 of 2000 pixel values are NaN or infinite" in by_name["nan"][0]
    assert "is (40, 50) pixels, its mask" in by_name["size"][0]
    assert by_name["size"][0].endswith("(40, 51)")
    assert "truncated: its pixels reach to byte 2304, but the file has 900 bytes" in by_name["cut"][0]
    assert "not a PNG, JPEG or TIFF file: it starts with b'hello'" in by_name["text"][0]
    assert "masks/maskless.tif: empty file (0 bytes)" in by_name["maskless"][0]
    assert "masks/photo.tif: label image with" in by_name["photo"][0]


def test_a_truncated_png_and_a_file_without_permission(folder, monkeypatch):
    path = folder / "images/c1.png"
    path.write_bytes(path.read_bytes()[:-400])
    text = refused(folder)
    assert text.startswith(f"1 unusable file:\n  {path}: damaged, truncated")
    real = Path.open

    def locked(self, *args, **options):
        if self.name == "c2.png" and self.parent.name == "masks":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", locked)
    assert f"Permission denied: '{folder / 'masks/c2.png'}'" in refused(folder)


def test_a_header_that_asks_for_more_memory_than_there_is(folder, monkeypatch):
    def exhausted(files, _):
        raise MemoryError(f"{files[0]}: too large for the memory at hand, or damaged (90 TB)")

    monkeypatch.setattr("unetkit.data.kept.read_channels", exhausted)
    assert refused(folder).startswith("3 unusable files:\n")


def test_masks_of_background_only(folder):
    for path in (folder / "masks").iterdir():
        write_mask(path, np.zeros((40, 50), np.uint8))
    assert "masks show background only: 3 files, only value 0" in refused(folder)


def test_one_empty_mask_among_others_is_fine(folder):
    write_mask(folder / "masks/c1.png", np.zeros((40, 50), np.uint8))
    assert not load_dataset(find_pairs(folder)).cases[1].labels.any()


def test_a_gray_photograph_as_mask_is_named(folder):
    photograph = np.random.default_rng(3).integers(0, 256, (40, 50), dtype=np.uint8)
    write_image(folder / "masks/c1.png", photograph)
    text = refused(folder)
    n = len(np.unique(np.append(photograph, [0, 255])))
    assert f"masks hold {n} different values from 0 to 255 in 3 files" in text
    assert text.endswith(f"are in {folder / 'masks/c1.png'}")
    assert "\n" not in text


def test_values_that_a_choice_of_labels_does_not_allow(folder):
    write_mask(folder / "masks/c1.png", disc(value=100))
    assert "labels='binary', but the masks hold 2 non-zero values (100 and 255)" in refused(folder, labels="binary")
    assert "labels='many': expected one of auto, binary, classes, instances" in refused(folder, labels="many")


def test_a_volume_and_other_channels_among_images(folder):
    write_image(folder / "images/deep.tif", gray(1, (6, 20, 20)))
    write_mask(folder / "masks/deep.tif", np.zeros((6, 20, 20), np.uint8))
    two = Image(np.stack([gray(1), gray(2)]), "cyx", (1.0, 1.0))
    io.write(folder / "images/two.tif", two)
    write_mask(folder / "masks/two.tif", disc())
    text = refused(folder)
    assert "deep.tif: has 3 spatial axes, 6 x 20 x 20, most others 2: planes and volumes are not mixed" in text
    assert "two.tif: got an image of 2 channels, expected 1" in text


@pytest.mark.parametrize("n_planes", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_planes_that_were_saved_as_the_samples_of_a_picture(tmp_path, n_planes, dtype):
    """As napari saves labels of three or four planes, by tifffile."""
    labels = np.zeros((n_planes, 20, 24), dtype)
    labels[:, 3:9, 3:9], labels[1:, 12:18, 12:20] = 1, 2
    for name in ("a", "b"):
        write_image(tmp_path / f"images/{name}.tif", gray(1, labels.shape)[None])
        (tmp_path / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"masks/{name}.tif", labels, photometric="rgb", planarconfig="separate")
    loaded = load_dataset(find_pairs(tmp_path))
    assert np.array_equal(loaded.cases[0].classes, labels)
    assert any(f"a picture of {n_planes} samples per pixel: read as the planes" in note for note in loaded.notes)
    io.write_labels(tmp_path / "predicted.tif", labels)
    assert evaluate(tmp_path / "predicted.tif", tmp_path / "masks" / "a.tif").dice == 1


def test_nothing_to_load():
    with pytest.raises(ValueError, match=r"got 0 files"):
        load_dataset([])


# --- the split ---


def cases(n, group=lambda i: None):
    empty = np.zeros((1, 2, 2), np.float32)
    return [Case(f"c{i}", empty, empty[0].astype(np.uint8), None, group(i), Path(f"c{i}.png")) for i in range(n)]


def names(some):
    return [case.name for case in some]


@pytest.mark.parametrize("n", [2, 3, 10, 47])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_the_fraction_is_honoured_and_order_kept(n, fraction):
    everything = cases(n)
    training, held_out = split(everything, fraction=fraction, seed=1)
    assert len(held_out) == min(max(1, int(fraction * n + 0.5)), n - 1)
    assert sorted(names(training) + names(held_out)) == sorted(names(everything))
    assert training == [case for case in everything if case in training]


def test_the_split_is_seeded_and_the_same_for_any_order():
    everything = cases(30, lambda i: f"g{i // 3}" if i < 15 else None)
    first = set(names(split(everything, fraction=0.2, seed=3)[1]))
    shuffled = [everything[i] for i in np.random.default_rng(0).permutation(30)]
    assert set(names(split(shuffled, fraction=0.2, seed=3)[1])) == first
    assert {frozenset(names(split(everything, fraction=0.2, seed=s)[1])) for s in range(5)} != {frozenset(first)}


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_torn(seed):
    everything = cases(40, lambda i: f"patient {i % 7}")
    training, held_out = split(everything, fraction=0.25, seed=seed)
    assert not {case.group for case in training} & {case.group for case in held_out}
    assert 0.1 < len(held_out) / 40 < 0.4


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_holds_almost_everything_is_trained_on(seed):
    training, held_out = split(cases(20, lambda i: "most" if i < 18 else f"g{i}"), fraction=0.1, seed=seed)
    assert {case.group for case in training} >= {"most"}
    assert len(held_out) == 2 or len(held_out) == 1


def test_a_fraction_of_zero_trains_on_all():
    assert split(cases(1), fraction=0, seed=0)[1] == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
def test_fractions_out_of_range(fraction):
    with pytest.raises(ValueError, match=rf"the validation share is {fraction}; expected 0 to below 1"):
        split(cases(4), fraction=fraction, seed=0)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_of_few_images_parts_are_held_out(n):
    rng = np.random.default_rng(0)
    few = [
        Case(f"c{i}", rng.normal(size=(1, 40, 50)), rng.integers(0, 2, (40, 50), np.uint8), None, None, Path())
        for i in range(n)
    ]
    training, held_out = train_val_split(few, fraction=0.2, seed=0)
    assert names(training) == names(held_out) == names(few)
    for whole, one, other in zip(few, training, held_out, strict=True):
        assert ((one.labels == IGNORE_INDEX) != (other.labels == IGNORE_INDEX)).all()
        assert (np.where(one.labels == IGNORE_INDEX, other.labels, one.labels) == whole.labels).all()
        assert (other.labels != IGNORE_INDEX).mean() == pytest.approx(0.2)


def test_the_part_that_is_held_out_has_all_classes_where_it_can():
    labels = np.zeros((50, 50), np.uint8)
    labels[:, 30:] = 1
    _, (held_out,) = train_val_split([Case("c", labels[None] * 1.0, labels, None, None, Path())], fraction=0.2, seed=0)
    assert np.bincount(held_out.labels[held_out.labels != IGNORE_INDEX]).tolist() == [300, 200]


def test_a_single_group_cannot_be_split():
    with pytest.raises(ValueError, match=r"5 image\(s\) in 1 group\(s\) cannot be split"):
        split(cases(5, lambda i: "p"), fraction=0.2, seed=0)


def test_a_picture_turned_by_its_exif_tag_is_said_where_the_mask_is_not(tmp_path):
    from PIL import Image as Pillow

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    exif = Pillow.Exif()
    exif[0x0112] = 8
    Pillow.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "images/a.png", exif=exif)
    write_mask(tmp_path / "masks/a.png", disc())
    assert "turned upright by its Exif orientation 8: turn the other as well" in refused(tmp_path)


def test_a_mask_that_lies_elsewhere_is_refused_and_one_stored_another_way_round_is_turned(tmp_path):
    up, down = ((2.0, -2.0), 80.0), ((2.0, 2.0), 0.0)  # step along x and y, and where the first row begins
    for i, ((dx, dy), y) in enumerate((up, down)):
        matrix = (dx, 0.0, 0.0, 5.0, 0.0, dy, 0.0, y, *[0.0] * 7, 1.0)
        image = Image(gray(i)[None], "cyx", (1.0, 1.0), georeference=io.GeoReference(matrix=matrix))
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        io.write(tmp_path / f"images/c{i}.tif", image)
        matrix = (2.0, 0.0, 0.0, 5.0, 0.0, -2.0, 0.0, 80.0, *[0.0] * 7, 1.0)
        like = replace(image, georeference=io.GeoReference(matrix=matrix))
        io.write_labels(tmp_path / f"masks/c{i}.tif", np.triu(np.ones((40, 50), np.uint8)), like=like)
    labels = [case.labels for case in load_dataset(find_pairs(tmp_path)).cases]
    assert np.array_equal(labels[1], labels[0][::-1])
    moved = replace(like, georeference=io.GeoReference(matrix=(*matrix[:3], 105.0, *matrix[4:])))
    io.write_labels(tmp_path / "masks/c1.tif", np.triu(np.ones((40, 50), np.uint8)), like=moved)
    assert "c1.tif: lies elsewhere than its counterpart, by up to 50 along x (pixels)" in refused(tmp_path)


def test_planes_and_volumes_are_not_mixed(tmp_path):
    for i, size in enumerate(((4, 40, 50), (40, 50), (40, 50))):
        mask = np.broadcast_to(disc(), size)
        write_image(tmp_path / f"images/c{i}.tif", gray(i, size))
        write_mask(tmp_path / f"masks/c{i}.tif", mask)
    text = refused(tmp_path)
    assert "images/c0.tif: has 3 spatial axes, 4 x 40 x 50, most others 2: planes and volumes are not mixed" in text
    assert "c1.tif" not in text


@pytest.mark.parametrize("size", [(40, 50), (4, 40, 50)])
@pytest.mark.parametrize("fill", [-3.4028234663852886e38, 1e38])
def test_fill_values_that_no_file_states_are_refused(tmp_path, size, fill):
    for i in range(2):
        image = gray(i, size).astype(np.float32)
        if i == 1:
            image.flat[:7] = fill
        write_image(tmp_path / f"images/c{i}.tif", image)
        write_mask(tmp_path / f"masks/c{i}.tif", np.broadcast_to(disc(), size))
    text = refused(tmp_path)
    assert f"c1.tif: 7 of {np.prod(size)} pixel values are {fill:.3g}, a fill value of pixels without data" in text
    assert "c0.tif" not in text


@pytest.mark.parametrize(("orientation", "size"), [(3, (40, 50)), (6, (40, 40))])
def test_a_picture_turned_alone_into_the_same_size_is_said(tmp_path, orientation, size):
    from PIL import Image as Pillow

    (tmp_path / "images").mkdir()
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(gray(0, size)).save(tmp_path / "images/a.png", exif=exif)
    write_mask(tmp_path / "masks/a.png", disc(size))
    notes = load_dataset(find_pairs(tmp_path)).notes
    assert any("the image alone was turned by its Exif tag: are both drawn upright?" in note for note in notes)
