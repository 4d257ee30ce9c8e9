"""OME-Zarr in, OME-Zarr out: masks of the same name, size and pixel size; evaluated and paired as files are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit import io
from unetkit.data.pairs import find_pairs
from unetkit.image import Image
from unetkit.inference.predictor import load_model
from unetkit.labels.kind import LabelKind
from unetkit.metrics.folders import evaluate
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet


def model(folder: Path, **options: int) -> Path:
    torch.manual_seed(1)
    architecture = Architecture(widths=(2, 4), out_channels=2, **options)
    card = Card(architecture=architecture.to_dict(), classes=["a", "b"], labels=LabelKind("binary", (0, 255)))
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)  # both classes occur
    folder.mkdir()
    save_model(folder / "model.safetensors", net, card)
    return folder


def picture(path: Path, size: tuple[int, ...] = (40, 52), seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 255, (1, *size), dtype=np.uint8)
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[len(size)], (2.0, 0.5, 0.25)[-len(size) :], "µm"))
    return path


@pytest.mark.parametrize("size", [(40, 52), (9, 20, 17)])
@pytest.mark.parametrize("name", ["scan.1.ome.zarr", "scan.zarr"])
def test_a_mask_has_the_name_and_pixel_size_of_its_image(tmp_path: Path, size: tuple[int, ...], name: str) -> None:
    run = model(tmp_path / "run", ndim=len(size))
    source = picture(tmp_path / "in" / name, size)
    (done,) = load_model(run).predict_files([source], tmp_path / "out")
    assert done.mask == tmp_path / "out" / name
    mask = io.read_labels(done.mask)
    assert (mask.size, mask.spacing, mask.unit) == (size, (2.0, 0.5, 0.25)[-len(size) :], "µm")
    (of_tiff,) = load_model(run).predict_files([picture(tmp_path / "in" / "scan.tif", size)], tmp_path / "out")
    assert np.array_equal(mask.array, io.read_labels(of_tiff.mask).array)
    assert set(np.unique(mask.array)) == {0, 255}


def test_folders_of_images_and_masks_that_exist(tmp_path: Path) -> None:
    run = model(tmp_path / "run")
    for seed, name in enumerate(["b.ome.zarr", "a.tif"]):
        picture(tmp_path / "in" / name, seed=seed)
    done = load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    assert [one.mask.name for one in done] == ["a.tif", "b.ome.zarr"]
    with pytest.raises(FileExistsError, match=r"2 masks exist; add --overwrite"):
        load_model(run).predict_files([tmp_path / "in"], tmp_path / "out")
    load_model(run).predict_files([tmp_path / "in"], tmp_path / "out", existing="overwrite")
    with pytest.raises(ValueError, match=r"b\.ome\.zarr: the mask would replace its own image"):
        load_model(run).predict_files([tmp_path / "in" / "b.ome.zarr"], tmp_path / "in")


def test_an_image_inside_a_hierarchy(tmp_path: Path) -> None:
    run = model(tmp_path / "run")
    source = picture(tmp_path / "in" / "plate.zarr") / "0"
    (done,) = load_model(run).predict_files([source], tmp_path / "out")
    assert done.mask == tmp_path / "out" / "0.ome.zarr"
    assert io.read_labels(done.mask).size == (40, 52)


def test_masks_are_evaluated_alone_or_in_folders(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (20, 30), dtype=np.uint8)
    for folder, name in (("p", "a.ome.zarr"), ("t", "a_mask.zarr"), ("u", "a.tif")):
        (tmp_path / folder).mkdir()
        io.write_labels(tmp_path / folder / name, labels)
    for truth in ("t", "u"):
        assert evaluate(tmp_path / "p", tmp_path / truth).mean.dice == 1
    assert evaluate(tmp_path / "p" / "a.ome.zarr", tmp_path / "u" / "a.tif").mean.dice == 1
    with pytest.raises(ValueError, match=r"a\.ome\.zarr is a file and truth .*u is a folder: give two of a kind"):
        evaluate(tmp_path / "p" / "a.ome.zarr", tmp_path / "u")


def test_pairs(tmp_path: Path) -> None:
    for name in ("images/a.ome.zarr", "images/b.zarr", "masks/a.zarr"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "masks" / "b_mask.tif").touch()
    expected = [("a", "a.ome.zarr", "a.zarr"), ("b", "b.zarr", "b_mask.tif")]
    found = find_pairs(tmp_path / "images", tmp_path / "masks")
    assert [(pair.name, pair.image.name, pair.mask.name) for pair in found] == expected
    assert find_pairs(tmp_path) == found
    table = tmp_path / "table.csv"
    table.write_text("image,mask\nimages/a.ome.zarr,masks/a.zarr\nimages/b.zarr,masks/b_mask.tif\n")
    assert [(pair.name, pair.image.name, pair.mask.name) for pair in find_pairs(table)] == expected
    table.write_text("image,mask\nimages,masks/a.zarr\n")
    with pytest.raises(ValueError, match=r"line 2: .*images does not exist"):
        find_pairs(table)
