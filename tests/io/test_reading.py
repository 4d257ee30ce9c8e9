import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unetkit import io

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def data(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"no test data at {DATA / name}")
    return DATA / name


def test_list_is_in_natural_order(tmp_path: Path) -> None:
    names = ["cell1.png", "cell2.TIF", "Cell10.jpg", "cell10a.jpeg", "cell010b.tiff", "z.ome.tif"]
    for name in [*names, ".hidden.png", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in io.list_images(tmp_path)] == names
    assert io.list_images(str(tmp_path)) == io.list_images(tmp_path)


def test_list_of_no_images_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no images among no files; supported are \.png, \.jpg, .*\.tiff"):
        io.list_images(tmp_path)
    for name in ("a.txt", "b.txt", "c.DOC", "README"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"no images among 1 \.doc, 2 \.txt, 1 without suffix; supported"):
        io.list_images(tmp_path)


def test_list_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none: no such folder"):
        io.list_images(tmp_path / "none")
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.png: a file, expected a folder"):
        io.list_images(tmp_path / "a.png")


def test_isbi2012() -> None:
    paths = io.list_images(data("isbi2012") / "images")
    assert len(paths) == 24
    image, labels = io.read(paths[0]), io.read_labels(data("isbi2012") / "masks" / paths[0].name)
    assert (image.array.shape, image.array.dtype, image.notes) == ((1, 512, 512), np.uint8, ())
    assert labels.size == (512, 512)
    assert set(np.unique(labels.array)) == {0, 255}


def test_nuclei() -> None:
    paths = io.list_images(data("nuclei") / "images")
    assert len(paths) == 240
    for path in paths[:20]:
        image, labels = io.read(path), io.read_labels(data("nuclei") / "masks" / path.name)
        assert image.channels in (1, 3)
        assert image.notes[0] == "alpha is 255 everywhere: dropped"
        assert labels.array.dtype == np.uint16
        assert labels.size == image.size


def test_vnc_em() -> None:
    path = data("vnc_em") / "images" / "stack.tif"
    image, labels = io.read(path), io.read_labels(data("vnc_em") / "masks" / "stack.tif")
    assert (image.axes, image.array.shape) == ("czyx", (1, 14, 1024, 1024))
    assert (image.spacing, image.unit, labels.spacing) == ((0.05, 0.0046, 0.0046), "µm", image.spacing)
    assert set(np.unique(labels.array)) == {0, 1, 2, 3, 4}
    with io.open_lazy(path) as lazy:
        region = (slice(None), slice(3, 9), slice(250, 300), slice(1000, None))
        assert np.array_equal(lazy[region], image.array[region])


def test_floods() -> None:
    for path in io.list_images(data("floods") / "images"):
        image, labels = io.read(path), io.read_labels(data("floods") / "masks" / path.name)
        assert (image.axes, image.array.shape, image.array.dtype) == ("cyx", (2, 512, 512), np.float32)
        assert np.array_equal(image.array, tifffile.imread(path), equal_nan=True)
        assert labels.array.dtype == np.int16
        assert set(np.unique(labels.array)) <= {-1, 0, 1}
