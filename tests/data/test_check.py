"""Twenty-nine faults planted in sound data: which are found, and is anything sound accused?"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from unetkit import io
from unetkit.data import dataset, kept
from unetkit.data.channels import read_channels
from unetkit.data.check import CheckResult, check
from unetkit.data.pairs import find_pairs
from unetkit.data.synthetic import synthetic_cells
from unetkit.errors import Problems
from unetkit.image import Image

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))
SPACING = (0.5, 0.5)
N = 24


def write(folder: Path, name: str, image: np.ndarray, mask: np.ndarray, spacing: float = 0.5, unit: str = "µm") -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    io.write(folder / "images" / f"{name}.tif", Image(image[None], "cyx", (spacing, spacing), unit))
    io.write_labels(folder / "masks" / f"{name}.tif", mask)


def cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, ids = synthetic_cells((160, 192), seed=seed, n_cells=10 + 5 * seed % 9)
    return image.astype(np.uint16) * 16 + 5, ids


def three_classes(ids: np.ndarray) -> np.ndarray:
    return np.where(ids == 0, 0, 1 + ids % 2).astype(np.uint8)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: one of object ids, one of classes 0, 1 and 2."""
    folder = tmp_path_factory.mktemp("sound")
    for i in range(N):
        image, ids = cells(i)
        write(folder / "ids", f"c{i:02d}", image, ids)
        write(folder / "classes", f"c{i:02d}", image, three_classes(ids))
    return folder


def test_nothing_sound_is_accused(sound: Path) -> None:
    for name in ("ids", "classes"):
        found = check(sound / name)
        assert found.errors == ()
        assert [str(one) for one in found.issues] == []


@pytest.mark.parametrize(
    "name", ["isbi2012", pytest.param("nuclei", marks=pytest.mark.slow), "hippocampus", "vnc_em", "floods"]
)
def test_nothing_of_the_real_sets_is_accused(name: str) -> None:
    if not (DATA / name / "images").is_dir():
        pytest.skip(f"no {DATA / name}")
    found = check(DATA / name)
    assert found.errors == ()
    assert [str(one) for one in found.issues] == []


def again(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    return io.read(folder / "images" / f"{name}.tif").array[0], io.read_labels(folder / "masks" / f"{name}.tif").array


def wrong_size(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, mask[:-8])


def jpeg_noise(folder: Path) -> None:
    _, mask = again(folder, "c01")
    noise = np.random.default_rng(0).integers(-9, 10, mask.shape)
    io.write_labels(folder / "masks" / "c01.tif", np.clip((mask > 0) * 255 + noise, 0, 255).astype(np.uint8))


def shifted(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, np.roll(mask, (9, -7), (0, 1)))


def shifted_far(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, np.roll(mask, (40, 0), (0, 1)))


def smoothed(folder: Path) -> None:
    """Classes that were resized with interpolation: values between them lie along their edges."""
    image, mask = again(folder, "c01")
    small = Picture.fromarray(mask.astype(np.float32)).resize((96, 80), Picture.Resampling.BILINEAR)
    large = np.asarray(small.resize(mask.shape[::-1], Picture.Resampling.BILINEAR)) * 100
    write(folder, "c01", image, large.round().astype(np.uint8))


def swapped(folder: Path) -> None:
    (one, first), (other, second) = again(folder, "c01"), again(folder, "c02")
    write(folder, "c01", one, second)
    write(folder, "c02", other, first)


def duplicate(folder: Path) -> None:
    write(folder, "c01", *again(folder, "c02"))


def empty(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, mask * 0)


def inverted(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, (mask == 0).astype(mask.dtype))


def eight_bits(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", (image // 16).astype(np.uint8), mask)


def not_a_number(folder: Path) -> None:
    image, mask = again(folder, "c01")
    floats = image.astype(np.float32)
    floats[3, 4] = np.nan
    write(folder, "c01", floats, mask)


def rgba(folder: Path) -> None:
    image, _ = again(folder, "c01")
    (folder / "images" / "c01.tif").unlink()
    gray = (image // 16).clip(0, 255).astype(np.uint8)
    Picture.fromarray(np.stack([gray, gray // 2, gray, gray * 0 + 255], -1)).save(folder / "images" / "c01.png")


def palette(folder: Path) -> None:
    image, _ = again(folder, "c01")
    (folder / "images" / "c01.tif").unlink()
    Picture.fromarray((image // 16).clip(0, 255).astype(np.uint8)).convert("P").save(folder / "images" / "c01.png")


def no_spacing(folder: Path) -> None:
    image, _ = again(folder, "c01")
    io.write(folder / "images" / "c01.tif", Image(image[None], "cyx", (1.0, 1.0), "px"))


def other_units(folder: Path) -> None:
    write(folder, "c01", *again(folder, "c01"), spacing=500, unit="µm")  # nanometres


def one_micrometre(folder: Path) -> None:
    write(folder, "c01", *again(folder, "c01"), spacing=1.0)


def class_missing(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, np.where(mask == 2, 1, mask).astype(mask.dtype))


def broken_ids(folder: Path) -> None:
    image, mask = again(folder, "c01")
    stripes = np.indices(mask.shape)[1] % 6 < 2
    write(folder, "c01", image, np.where(stripes, 0, mask).astype(mask.dtype))


def corrupt(folder: Path) -> None:
    file = folder / "images" / "c01.tif"
    file.write_bytes(file.read_bytes()[:300])


def third_value(folder: Path) -> None:
    image, mask = again(folder, "c01")
    mask = mask.copy()
    mask[40:60, 40:60] = 7
    write(folder, "c01", image, mask)


def black(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image * 0, mask)


def ten_times(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", np.kron(image, np.ones((10, 10), image.dtype)), np.kron(mask, np.ones((10, 10), mask.dtype)))


def unpaired(folder: Path) -> None:
    (folder / "masks" / "c01.tif").unlink()


def other_case(folder: Path) -> None:
    (folder / "images" / "c01.tif").rename(folder / "images" / "c01.TIF")
    (folder / "masks" / "c01.tif").rename(folder / "masks" / "c01.Tif")


def flipped(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, mask[::-1])


def turned(folder: Path) -> None:
    (image, mask), n = again(folder, "c01"), 128
    write(folder, "c01", image[:n, :n], np.rot90(mask[:n, :n]))


def two_channels(folder: Path) -> None:
    image, _ = again(folder, "c01")
    io.write(folder / "images" / "c01.tif", Image(np.stack([image, image[::-1]]), "cyx", SPACING, "µm"))


def saved_again(folder: Path) -> None:
    """Brighter and rounded, with other masks."""
    image, mask = again(folder, "c02")
    write(folder, "c01", np.round(image * 1.3 / 40).astype(np.uint16) * 40, np.where(mask == 1, 0, mask))


def lossy(folder: Path) -> None:
    image, mask = again(folder, "c02")
    Picture.fromarray((image // 16).clip(0, 255).astype(np.uint8)).save(folder / "lossy.jpg", quality=60)
    write(folder, "c01", np.asarray(Picture.open(folder / "lossy.jpg")).astype(np.uint16) * 16, mask)
    (folder / "lossy.jpg").unlink()


def mirrored(folder: Path) -> None:
    image, mask = again(folder, "c01")
    write(folder, "c01", image, mask[:, ::-1])


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (wrong_size, "ids"),
    (jpeg_noise, "classes"),
    (shifted, "ids"),
    (swapped, "ids"),
    (duplicate, "ids"),
    (empty, "ids"),
    (inverted, "ids"),
    (eight_bits, "ids"),
    (not_a_number, "ids"),
    (rgba, "ids"),
    (palette, "ids"),
    (no_spacing, "ids"),
    (other_units, "ids"),
    (one_micrometre, "ids"),
    (class_missing, "classes"),
    (broken_ids, "ids"),
    (corrupt, "ids"),
    (third_value, "classes"),
    (black, "ids"),
    (ten_times, "ids"),
    (unpaired, "ids"),
    (shifted_far, "ids"),
    (smoothed, "classes"),
    (flipped, "ids"),
    (mirrored, "classes"),
    (turned, "ids"),
    (two_channels, "ids"),
    (saved_again, "ids"),
    (lossy, "ids"),
]


def says(found: CheckResult) -> list[str]:
    return [*found.errors, *map(str, found.issues)]


@pytest.mark.parametrize(("plant", "which"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_fault_is_found(plant: Callable[[Path], None], which: str, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / which
    shutil.copytree(sound / which, folder)
    plant(folder)
    lines = "\n".join(says(check(folder))).splitlines()
    about = [line for line in lines if "c01" in line]
    others = [line for line in lines if "c01" not in line and any(f"c{i:02d}" in line for i in range(N))]
    assert about, lines
    assert all("c02" in line for line in others), others


def test_another_case_of_a_suffix_is_no_fault(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ids"
    shutil.copytree(sound / "ids", folder)
    other_case(folder)
    found = check(folder)
    assert says(found) == []
    assert found.dataset is not None
    assert len(found.dataset.cases) == N


def test_all_at_once(sound: Path, tmp_path: Path) -> None:
    """What cannot be used does not hide what only looks wrong."""
    folder = tmp_path / "ids"
    shutil.copytree(sound / "ids", folder)
    wrong_size(folder)
    for name, spoil in (("c05", corrupt), ("c06", unpaired), ("c07", empty), ("c08", shifted)):
        other = tmp_path / name
        shutil.copytree(sound / "ids", other)
        spoil(other)
        for part in ("images", "masks"):
            (folder / part / f"{name}.tif").unlink()
            source = other / part / "c01.tif"
            if source.exists():
                shutil.copy(source, folder / part / f"{name}.tif")
    text = "\n".join(says(check(folder)))
    assert all(name in text for name in ("c01", "c05", "c06", "c07", "c08"))


def test_every_file_is_read_once(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many stages leave pairs out."""
    folder = tmp_path / "classes"
    shutil.copytree(sound / "classes", folder)
    jpeg_noise(folder)
    for name in ("c02", "c03"):
        image, mask = again(folder, name)
        write(folder, name, image, np.full_like(mask, 255))
    write(folder, "c04", *again(folder, "c04"), spacing=500.0)
    corrupt_file = folder / "images" / "c05.tif"
    corrupt_file.write_bytes(corrupt_file.read_bytes()[:300])
    opened: list[str] = []
    monkeypatch.setattr(kept, "read_channels", lambda files, _: opened.append(str(files[0])) or read_channels(files))
    read = io.read_coded_labels
    monkeypatch.setattr(kept, "read_coded_labels", lambda file, **_: opened.append(str(file)) or read(file))
    result = check(folder)
    assert sorted(opened) == sorted(map(str, folder.rglob("*.tif")))
    stages = (("c05",), ("c01",), ("c04",), ("c02", "c03"))
    for text, names in zip(result.errors, stages, strict=True):
        assert [f"c{i:02d}" for i in range(N) if f"c{i:02d}" in text] == list(names), text
    assert result.dataset is not None
    assert len(result.dataset.cases) == N - 5
    with pytest.raises(Problems, match="5 problems:") as caught:
        dataset.load_dataset(find_pairs(folder))
    bad = {path.stem for path in caught.value.bad_files}
    assert bad == {"c01", "c02", "c03", "c04", "c05"}


@pytest.mark.parametrize("size", [(40, 40), (3, 40, 40)])
def test_usual_fill_values_are_doubted_where_no_file_states_them(tmp_path, size):
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 500, size).astype(np.int16)
        image.flat[:80] = -9999 if i == 1 else 0
        mask = (image > 250).astype(np.uint8)
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        axes = "czyx"[: 1 + len(size)] if len(size) == 3 else "cyx"
        io.write(tmp_path / f"images/a{i}.tif", Image(image[None], axes, (1.0,) * len(size)))
        io.write_labels(tmp_path / f"masks/a{i}.tif", mask)
    issues = [str(issue) for issue in check(tmp_path).issues if "no data" in str(issue)]
    assert len(issues) == 1
    assert "a1.tif" in issues[0]
    assert "of its values are -9999, which programs write where there is no data" in issues[0]
