"""Segmentations of 3D Slicer (.seg.nrrd): classes by the names of segments, whatever their values and layers."""

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import Pair
from unetkit.io import read_labels
from unetkit.io.reading import read_coded_labels
from unetkit.labels.numbering import number_values

nrrd = pytest.importorskip("nrrd", reason="pynrrd is not installed: pip install 'unetkit[formats]'")
pytest.importorskip("nibabel")
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")  # of pynrrd 1.1.3, where it writes

SHAPE = (5, 4, 3)  # x, y, z


def saved(path: Path, values: np.ndarray, *segments: dict[str, str]) -> Path:
    """Write layers of shape (layers, x, y, z), or one of shape (x, y, z), as 3D Slicer does."""
    header = {"space": "right-anterior-superior", "kinds": ["domain"] * 3, "space origin": [0.0, 0.0, 0.0]}
    header["space directions"] = np.diag([0.5, 0.5, 2.0])
    if values.ndim > 3:
        header["kinds"] = ["list", *header["kinds"]]
        header["space directions"] = np.vstack([[np.nan] * 3, header["space directions"]])
    for number, fields in enumerate(segments):
        header |= {f"Segment{number}_{key}": value for key, value in fields.items()}
    nrrd.write(str(path), values.astype(np.uint8), header)
    return path


def segment(name: str, value: int, layer: int = 0) -> dict[str, str]:
    return {"ID": f"S_{value}", "Name": name, "LabelValue": str(value), "Layer": str(layer), "Extent": "0 4 0 3 0 2"}


def blocks() -> np.ndarray:
    values = np.zeros(SHAPE)
    values[0], values[2, 1] = 1, 2
    return values


def test_files_that_number_their_segments_differently_are_compared_by_name(tmp_path: Path) -> None:
    swapped = np.array([0, 2, 1])[blocks().astype(int)]
    first = saved(tmp_path / "a.seg.nrrd", blocks(), segment("liver", 1), segment("tumour", 2))
    second = saved(tmp_path / "b.seg.nrrd", swapped, segment("liver", 2), segment("tumour", 1))
    (one, code), (other, other_code) = read_coded_labels(first), read_coded_labels(second)
    assert code is not None
    assert code.keys == {1: "liver", 2: "tumour"}
    assert "3D Slicer segmentation of 2 segments: 1 liver, 2 tumour" in one.notes
    assert (one.spacing, one.unit) == ((2.0, 0.5, 0.5), "mm")
    numbering = number_values([code, other_code])
    assert np.array_equal(one.array, blocks().T)
    assert np.array_equal(numbering.array(other.array, other_code), numbering.array(one.array, code))


def test_letters_beyond_ascii(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.seg.nrrd", blocks(), segment("Gr--e", 1), segment("Gr~~e", 2))
    path.write_bytes(path.read_bytes().replace(b"Gr--e", "Gröe".encode()).replace(b"Gr~~e", "Grße".encode()))
    code = read_coded_labels(path)[1]
    assert code is not None
    assert code.keys == {1: "Gröe", 2: "Grße"}


def test_layers_become_one_label_image(tmp_path: Path) -> None:
    layers = np.stack([blocks(), np.zeros(SHAPE)])
    layers[1, 4] = 1
    segments = [segment("liver", 1), segment("tumour", 2), segment("bone", 1, layer=1)]
    labels, code = read_coded_labels(saved(tmp_path / "a.seg.nrrd", layers, *segments))
    assert code is not None
    assert code.keys == {1: "liver", 2: "tumour", 3: "bone"}
    assert np.array_equal(labels.array, (blocks() + 3 * layers[1]).T)
    layers[1, 4] = 7
    segments[2]["LabelValue"] = "7"  # no two of one value: each keeps its own
    kept = read_labels(saved(tmp_path / "b.seg.nrrd", layers, *segments))
    assert np.array_equal(kept.array, layers.sum(0).T)


def test_files_of_old_versions_have_a_layer_per_segment(tmp_path: Path) -> None:
    layers = np.stack([blocks() == 1, blocks() == 2])
    names = [{"ID": "Segment_1", "Name": "liver"}, {"ID": "Segment_2"}]
    labels, code = read_coded_labels(saved(tmp_path / "a.seg.nrrd", layers, *names))
    assert code is not None
    assert code.keys == {1: "liver", 2: "Segment_2"}
    assert np.array_equal(labels.array, blocks().T)


def test_a_part_of_an_image_is_refused_with_what_would_mend_it(tmp_path: Path) -> None:
    saved(tmp_path / "ct.nrrd", np.arange(60).reshape(SHAPE))
    saved(tmp_path / "ct.seg.nrrd", blocks()[:3], segment("liver", 1), segment("tumour", 2))
    message = r"ct\.nrrd: is \(3, 4, 5\) pixels, its mask .*ct\.seg\.nrrd \(3, 4, 3\); .*the image as reference volume"
    with pytest.raises(ValueError, match=message):
        load_dataset([Pair(tmp_path / "ct.nrrd", tmp_path / "ct.seg.nrrd", "ct")])


@pytest.mark.parametrize(
    "segments, message",
    [
        ([segment("liver", 1), segment("bone", 1, layer=1)], r"segment 2 bone overlaps with 1 liver in 3 voxels"),
        ([segment("liver", 1), segment("bone", 2, layer=1)], r"holds 1 in 3 voxels of layer 1, .*save it again"),
        ([segment("liver", 1), segment("spleen", 1)], r"two segments of layer 0 have one label value \(1, 1\)"),
        ([segment("liver", 1), segment("bone", 1, 1), segment("rib", 1, 5)], r"segments rib lie in a layer beyond"),
        ([segment("liver", 0)], r"segment liver: layer '0', label value '0': expected numbers"),
    ],
)
def test_what_no_label_image_holds_is_refused(tmp_path: Path, segments: list[dict[str, str]], message: str) -> None:
    layers = np.zeros((2, *SHAPE))
    layers[0, 0], layers[1, 0, 1] = 1, 1
    path = saved(tmp_path / "a.seg.nrrd", layers, *segments)
    with pytest.raises(ValueError, match=rf"a\.seg\.nrrd: {message}"):
        read_labels(path)
