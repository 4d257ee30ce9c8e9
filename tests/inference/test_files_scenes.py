"""Scenes of a CZI from pairing to scores: each an image of its own, named FILE#NUMBER."""

from pathlib import Path

import numpy as np
import pytest

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.inference.predictor import load_model
from unetkit.measurements.table import measure
from unetkit.metrics.folders import evaluate
from unetkit.training.data_record import check_record, write_record

RUN = Path(__file__).parents[1] / "version_0_1" / "runs" / "2d"
SCENES = {1: (40, 52), 2: (33, 45), 3: (48, 40)}


def write_scenes(path: Path, seed: int = 0) -> dict[int, np.ndarray]:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed: pip install 'unetkit[formats]'")
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    arrays = {number: rng.integers(0, 200, (1, *size)).astype(np.uint8) for number, size in SCENES.items()}
    with czi.create_czi(str(path), exist_ok=True) as file:
        for number, array in arrays.items():
            file.write(np.ascontiguousarray(array[0][..., None]), location=(100 * number, 0), scene=number - 1)
        file.write_metadata(scale_x=0.5e-6, scale_y=0.5e-6)
    return arrays


def test_each_scene_gets_its_mask(tmp_path: Path) -> None:
    arrays = write_scenes(tmp_path / "in" / "a.czi")
    predictor = load_model(RUN)
    made = predictor.predict_files([tmp_path / "in"], tmp_path / "out")
    assert [each.mask.name for each in made] == ["a#1.tif", "a#2.tif", "a#3.tif"]
    for (number, array), each in zip(arrays.items(), made, strict=True):
        io.write(tmp_path / f"{number}.tif", io.read(tmp_path / "in" / f"a.czi#{number}"))
        (alone,) = predictor.predict_files([tmp_path / f"{number}.tif"], tmp_path / "alone")
        assert np.array_equal(io.read_labels(each.mask).array, io.read_labels(alone.mask).array)
        assert io.read_labels(each.mask).array.shape == array.shape[1:]
        assert io.read_labels(each.mask).spacing == pytest.approx((0.5, 0.5))
    # By the file and by one scene alike; what is there is kept.
    again = predictor.predict_files([tmp_path / "in" / "a.czi"], tmp_path / "out", existing="resume")
    assert again == []
    (one,) = predictor.predict_files([tmp_path / "in" / "a.czi#2"], tmp_path / "one")
    assert one.mask.read_bytes() == made[1].mask.read_bytes()
    with pytest.raises(ValueError, match=r"a\.czi#4: holds 3 scenes"):
        predictor.predict_files([tmp_path / "in" / "a.czi#4"], tmp_path / "one")


def test_masks_of_scenes_are_scored_and_measured(tmp_path: Path) -> None:
    arrays = write_scenes(tmp_path / "in" / "a.czi")
    for number, array in arrays.items():
        for folder, name in (("out", f"a#{number}.png"), ("truth", f"a_{number}.png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            io.write_labels(tmp_path / folder / name, (array[0] > 100).astype(np.uint8) * 255)
    scores = evaluate(tmp_path / "out", tmp_path / "truth")
    assert [image.name for image in scores.per_image] == ["a#1", "a#2", "a#3"]
    assert scores.dice == 1
    found = measure([tmp_path / "out"], tmp_path / "tables", images=tmp_path / "in" / "a.czi")
    assert found.masks == 3
    assert "mean_0" in found.table.read_text().splitlines()[0]


@pytest.mark.parametrize("ending", ["a#{}.png", "a_{}.png", "a#{}_mask.png"])
def test_scenes_are_paired_by_their_number(tmp_path: Path, ending: str) -> None:
    arrays = write_scenes(tmp_path / "images" / "a.czi")
    for number, array in arrays.items():
        mask = tmp_path / "masks" / ending.format(number)
        mask.parent.mkdir(exist_ok=True)
        io.write_labels(mask, (array[0] > 100).astype(np.uint8))
    pairs = find_pairs(tmp_path)
    assert [(pair.image.name, pair.mask.name, pair.group) for pair in pairs] == [
        (f"a.czi#{number}", ending.format(number), None) for number in SCENES
    ]
    cases = load_dataset(pairs).cases
    write_record(tmp_path / "data.json", cases)
    check_record(tmp_path / "data.json", load_dataset(pairs).cases)
    write_scenes(tmp_path / "images" / "a.czi", seed=5)
    with pytest.raises(ValueError, match="with another image: a#1, a#2, a#3"):
        check_record(tmp_path / "data.json", load_dataset(pairs).cases)


def test_scenes_of_a_file_stay_on_one_side(tmp_path: Path) -> None:
    for name in "ab":
        for number, array in write_scenes(tmp_path / "images" / f"{name}.czi").items():
            (tmp_path / "masks").mkdir(exist_ok=True)
            io.write_labels(tmp_path / "masks" / f"{name}_{number}.png", (array[0] > 100).astype(np.uint8))
    assert {pair.name: pair.group for pair in find_pairs(tmp_path)} == {f"{n}#{i}": n for n in "ab" for i in SCENES}


def test_a_table_names_scenes(tmp_path: Path) -> None:
    arrays = write_scenes(tmp_path / "a.czi")
    io.write_labels(tmp_path / "m.png", (arrays[2][0] > 100).astype(np.uint8))
    table = tmp_path / "pairs.csv"
    table.write_text("image,mask\na.czi#2,m.png\n")
    (pair,) = find_pairs(table)
    assert pair.image == tmp_path / "a.czi#2"
    assert load_dataset([pair]).cases[0].classes.shape == SCENES[2]
