"""The scripts whose runs take hours, from end to end in two steps on tiny synthetic data, and the parts that score.

They are loaded as the files they are; their results and pictures go to a temporary folder.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unetkit.image import Image
from unetkit.io import read, read_labels, write, write_labels

ROOT = Path(__file__).parents[1]


def _load(path: str) -> ModuleType:
    name = f"script_{Path(path).stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where its dataclasses look for it
        sys.path.insert(0, str((ROOT / path).parent))  # as for a script: what lies beside it can be imported
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
    return sys.modules[name]


@pytest.fixture(scope="module")
def volumes() -> ModuleType:
    return _load("benchmarks/volumes.py")


@pytest.fixture(scope="module")
def variants() -> ModuleType:
    return _load("recipes/variants.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small scans, one stack of 14 sections with five classes, and 24 sections of blobs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("hippocampus", "vnc_em", "isbi2012"):
        for part in ("images", "masks"):
            (root / name / part).mkdir(parents=True)
    for i in range(6):
        labels = np.zeros((12, 16, 12), np.uint8)
        labels[3:9, 4:8, 3:9], labels[3:9, 8:12, 3:9] = 1, 2
        scan = (labels * 50 + rng.normal(100, 5, labels.shape)).astype(np.float32)
        write(root / "hippocampus" / "images" / f"scan_{i}.nii.gz", Image(scan[None], "czyx", (1, 1, 1), "mm"))
        like = Image(labels, "zyx", (1, 1, 1), "mm")
        write_labels(root / "hippocampus" / "masks" / f"scan_{i}.nii.gz", like)
    labels = np.broadcast_to(np.repeat(np.arange(5, dtype=np.uint8), 7)[:32, None], (14, 32, 32)).copy()
    stack = (labels * 40 + rng.integers(0, 30, labels.shape)).astype(np.uint8)
    write(root / "vnc_em" / "images" / "stack.tif", Image(stack[None], "czyx", (50, 4.6, 4.6), "nm"))
    write_labels(root / "vnc_em" / "masks" / "stack.tif", Image(labels, "zyx", (50, 4.6, 4.6), "nm"))
    for i in range(24):
        y, x = np.indices((32, 32))
        cells = (np.sin((y + i) / 3) * np.sin(x / 3) > 0).astype(np.uint8) * 255
        image = (cells * 0.5 + rng.integers(0, 100, cells.shape)).astype(np.uint8)
        write(root / "isbi2012" / "images" / f"{i:02}.png", Image(image[None], "cyx", (1, 1), "px"))
        write_labels(root / "isbi2012" / "masks" / f"{i:02}.png", cells)
    return root


def _lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_volumes_runs_what_is_missing(
    volumes: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is asked for is run once, scored in [0, 1], and printed; hippocampus has no sparse labels."""
    results, runs = tmp_path / "results.jsonl", tmp_path / "runs"
    given = [str(data), "--steps", "2", "--results", str(results), "--runs", str(runs)]
    volumes.main([*given, "--how", "2.5d", "--set", "hippocampus"])
    volumes.main([*given, "--how", "2.5d", "sparse", "--set", "hippocampus"])
    volumes.main([*given, "--how", "sparse", "--set", "vnc_em"])
    rows = _lines(results)
    assert [(row["set"], row["how"]) for row in rows] == [("hippocampus", "2.5d"), ("vnc_em", "sparse")]
    for row in rows:
        assert row["steps"] == 2
        assert list(row["dice"]) == list(volumes.CLASSES[row["set"]])
        assert all(0 <= value <= 1 for value in (*row["dice"].values(), *row["volume_dice"].values()))
    kept = results.read_text(), sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))
    volumes.main([*given, "--how", "sparse", "--set", "vnc_em"])
    assert (results.read_text(), sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))) == kept
    capsys.readouterr()
    volumes.main([*given, "--table"])
    table = capsys.readouterr().out.splitlines()
    scores = [f"{rows[1]['dice'][name]:.4f}" for name in volumes.CLASSES["vnc_em"]]
    row = rows[1]
    start = f"| unetkit | sparse | 0 | 0 | 2 | {row['precision']} | {row['machine']} | {row['trained_s']:.0f} |"
    assert any(line.startswith(start) for line in table)
    assert any(" | ".join(scores) in line for line in table)


def test_a_stack_is_cut_without_a_rest(volumes: ModuleType, data: Path, tmp_path: Path) -> None:
    """Training and test sections make up the stack, with its voxels; "sparse" hides labels of the training alone."""
    whole = read_labels(data / "vnc_em" / "masks" / "stack.tif")
    task = volumes.vnc_em(data, tmp_path, how="3d")
    (image, mask), (test_image, test_mask) = *task.training, *task.tests
    assert np.array_equal(np.concatenate([read_labels(mask).array, read_labels(test_mask).array]), whole.array)
    parts = np.concatenate([read(image).array, read(test_image).array], axis=1)
    assert np.array_equal(parts, read(data / "vnc_em" / "images" / "stack.tif").array)
    assert read(image).spacing == pytest.approx((50, 4.6, 4.6))
    assert read(test_image).size[0] == 3
    sparse = volumes.vnc_em(data, tmp_path, how="sparse")
    labels = read_labels(sparse.training[0][1]).array
    labelled = (labels != 255).all(axis=(1, 2))
    assert np.flatnonzero(labelled).tolist() == [1, 5, 9]
    assert (labels[~labelled] == 255).all()
    assert np.array_equal(labels[labelled], whole.array[:11][labelled])
    assert (read_labels(sparse.tests[0][1]).array == whole.array[11:]).all()


def test_volumes_held_out_are_not_trained_on(volumes: ModuleType, data: Path) -> None:
    task = volumes.hippocampus(data)
    training, tests = ({image.name for image, _ in files} for files in (task.training, task.tests))
    assert (len(training), len(tests)) == (4, 2)
    assert not training & tests
    assert all(image.name == mask.name for image, mask in (*task.training, *task.tests))
    fifths = [{image.name for image, _ in volumes.hippocampus(data, fifth).tests} for fifth in range(5)]
    assert fifths[0] == tests
    assert sorted(name for fifth in fifths for name in fifth) == sorted(training | tests)


def test_scores_by_hand(volumes: ModuleType) -> None:
    """One volume all right, one with a half of class 1 called 0: by volume (1 + 2/3) / 2, all together 6 / 7."""
    first, second = np.array([0, 1, 1]), np.array([0, 1, 1])
    found = volumes.score([first, np.array([0, 0, 1])], [first, second], ["background", "one"])
    assert found["volume_dice"]["one"] == found["volume_dice_foreground"] == pytest.approx(5 / 6, abs=1e-5)
    assert found["dice"]["one"] == found["dice_foreground"] == pytest.approx(6 / 7, abs=1e-5)
    assert found["dice_all"] == pytest.approx((6 / 7 + 4 / 5) / 2, abs=1e-5)


@pytest.mark.slow
def test_variants_end_to_end(variants: ModuleType, data: Path, tmp_path: Path) -> None:
    """The richest net: a line for it and for each of its levels, a table, a picture; a second run adds nothing."""
    given = [str(data / "isbi2012"), "--steps", "2", "--out", str(tmp_path), "--only", "unetpp"]
    variants.main(given)
    rows = {row["key"]: row for row in _lines(tmp_path / "results.jsonl")}
    levels = [f"unetpp_L{level}" for level in (1, 2, 3, 4)]
    assert sorted(rows) == ["unetpp", *levels]
    assert [rows[key]["parameters"] for key in levels] == sorted({rows[key]["parameters"] for key in levels})
    for row in rows.values():
        assert row["steps_taken"] == 2
        truths = [read_labels(data / "isbi2012" / "masks" / f"{i}.png").array for i in range(20, 24)]
        masks = [read_labels(tmp_path / "masks" / row["key"] / f"{i}.png").array for i in range(20, 24)]
        assert row["pixel_error"] == pytest.approx(np.mean(np.array(truths) != np.array(masks)), abs=1e-5)
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(rows)
    assert read(tmp_path / "variants.png").size[1] == 2400
    states = {path: path.read_bytes() for path in (tmp_path / "results.jsonl", tmp_path / "unetpp/model.safetensors")}
    variants.main(given)
    assert states == {path: path.read_bytes() for path in states}
    with pytest.raises(ValueError, match=r"planned with budget\.steps 2, not 1"):
        variants.main([*given[:2], "1", *given[3:]])


def test_every_net_differs_as_it_says(variants: ModuleType) -> None:
    keys = [variant.key for variant in variants.VARIANTS]
    assert len(set(keys)) == len(keys) == 7
    assert len({json.dumps(variant.settings) for variant in variants.VARIANTS}) == 7
