"""What OME-Zarr states of labels and of where an image lies in its folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import Pair
from unetkit.image import Image

pytest.importorskip("zarr", reason="zarr is not installed: pip install 'unetkit[zarr]'")


def edit(folder: Path, change) -> Path:
    """Change the OME metadata of a folder."""
    file = folder / "zarr.json"
    content = json.loads(file.read_text())
    change(content["attributes"]["ome"])
    file.write_text(json.dumps(content))
    return folder


def properties(folder: Path, *rows: dict) -> Path:
    return edit(folder, lambda ome: ome["image-label"].update(properties=list(rows)))


def labels(shape=(20, 30)) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[..., 2:6, 3:9], array[..., 10:15, 12:20] = 1, 2
    return array


@pytest.mark.parametrize("shape", [(20, 30), (4, 20, 30)])
def test_names_of_labels_are_those_of_the_classes(tmp_path: Path, shape) -> None:
    pairs = []
    for name, key, named in (("a", "class", ("wall", "cell")), ("b", "name", ("cell", "wall"))):
        axes = {2: "cyx", 3: "czyx"}[len(shape)]
        io.write(tmp_path / f"{name}.tif", Image(np.ones((1, *shape), np.uint8), axes, (1,) * len(shape)))
        mask = tmp_path / f"{name}.ome.zarr"
        io.write_labels(mask, labels(shape))
        rows = [{"label-value": value, key: word, "area": 9.0} for value, word in enumerate(named, start=1)]
        pairs.append(Pair(tmp_path / f"{name}.tif", properties(mask, *rows), name))
    _, code = io.read_coded_labels(pairs[0].mask)
    assert code is not None
    assert (code.keys, code.is_numbered) == ({1: "wall", 2: "cell"}, True)
    dataset = load_dataset(pairs)
    assert dataset.class_names == ["background", "cell", "wall"]
    assert np.array_equal(dataset.cases[1].labels, labels(shape))
    assert np.array_equal(dataset.cases[0].labels, np.array([0, 2, 1])[labels(shape)])


def test_several_labels_of_one_class_are_its_objects(tmp_path: Path) -> None:
    io.write_labels(tmp_path / "a.ome.zarr", labels())
    properties(tmp_path / "a.ome.zarr", {"label-value": 1, "class": "cell"}, {"label-value": 2, "class": "cell"})
    _, code = io.read_coded_labels(tmp_path / "a.ome.zarr")
    assert code is not None
    assert code.are_objects
    properties(tmp_path / "a.ome.zarr", {"label-value": 1, "class": "cell"}, {"label-value": 7, "class": "cell"})
    assert io.read_coded_labels(tmp_path / "a.ome.zarr")[1] is None  # 2 has no name


@pytest.mark.parametrize(
    "stated", [None, 3, [3], [{"class": "a"}], [{"label-value": 1, "class": 4}], [{"label-value": "1"}]]
)
def test_properties_without_names_say_nothing(tmp_path: Path, stated) -> None:
    io.write_labels(tmp_path / "a.ome.zarr", labels())
    edit(tmp_path / "a.ome.zarr", lambda ome: ome["image-label"].update(properties=stated))
    image, code = io.read_coded_labels(tmp_path / "a.ome.zarr")
    assert code is None
    assert np.array_equal(image.array, labels())


def test_a_scale_that_runs_backwards_is_a_size_without_a_place(tmp_path: Path) -> None:
    image = Image(np.arange(600, dtype=np.uint16).reshape(1, 20, 30), "cyx", (0.5, 0.25), "µm", origin=(4.0, 9.0))
    io.write(tmp_path / "a.ome.zarr", image)
    assert io.read(tmp_path / "a.ome.zarr").origin == (4.0, 9.0)

    def backwards(ome: dict) -> None:
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][-2] = -0.5

    edit(tmp_path / "a.ome.zarr", backwards)
    again = io.read(tmp_path / "a.ome.zarr")
    assert (again.spacing, again.unit, again.origin) == ((0.5, 0.25), "µm", None)
    assert np.array_equal(again.array, image.array)
    assert "scale of axis y is -0.5: its size is used, and no place" in again.notes


def test_an_image_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "scan.zarr"
    root.mkdir()
    (root / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    for name in ("camera", "camera2"):
        io.write(tmp_path / "a.ome.zarr", Image(np.full((1, 20, 30), 7, np.uint8), "cyx", (0.5, 0.25), "µm"))
        (tmp_path / "a.ome.zarr").rename(root / name)
        if name == "camera":
            image = io.read(root)
            assert (image.array.max(), image.spacing) == (7, (0.5, 0.25))
            assert "image camera below the root read" in image.notes
            with io.open_lazy(root) as lazy:
                assert lazy[:, 3:5, 4:9].shape == (1, 2, 5)
    with pytest.raises(ValueError, match=r"a group of 2 images \(camera, camera2\): name one.* scan\.zarr/"):
        io.read(root)
    assert io.read(root / "camera").size == (20, 30)
