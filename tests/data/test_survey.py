"""Large sets are looked at by a sample, and by the headers of all files."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from recorder import Recorder

from unetkit import io
from unetkit.data import survey as module
from unetkit.data.check import check
from unetkit.data.pairs import find_pairs
from unetkit.data.survey import survey
from unetkit.image import Image
from unetkit.io.read_options import AS_STATED
from unetkit.progress import SILENT
from unetkit.training.plan.rules import for_all_images, make_plan

N = 12


def data(folder: Path, suffix: str = ".tif", size: tuple[int, ...] = (64, 80)) -> Path:
    """Images of discs, which are told apart by their places."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(N):
        away = [(index - n // 2 - i) ** 2 for index, n in zip(np.indices(size), size, strict=True)]
        mask = (sum(away) < 100).astype(np.uint8)
        image = mask * 100 + np.random.default_rng(i).integers(0, 50, size).astype(np.uint8)
        axes = {2: "cyx", 3: "czyx"}[len(size)]
        io.write(folder / "images" / f"a{i:02d}{suffix}", Image(image[None], axes, (1.0,) * len(size)))
        io.write_labels(folder / "masks" / f"a{i:02d}{suffix}", mask)
    return folder


@pytest.mark.parametrize(("suffix", "size"), [(".tif", (64, 80)), (".png", (64, 80)), (".nii.gz", (8, 24, 20))])
def test_a_sample_is_drawn_by_its_bytes(tmp_path: Path, suffix: str, size: tuple[int, ...]) -> None:
    pairs = find_pairs(data(tmp_path, suffix, size))
    own = np.prod(size) * (3 if suffix == ".png" else 1)  # a picture may be in colour
    recorder = Recorder()
    some = survey(pairs, AS_STATED, recorder, most_bytes=5 * own + 1)
    assert some.is_sample
    assert (len(some.pairs), some.n, some.bytes_read, some.bytes_all) == (5, N, 5 * own, N * own)
    assert [pair.name for pair in some.pairs] == sorted(pair.name for pair in some.pairs)
    assert survey(pairs, AS_STATED, SILENT, most_bytes=5 * own + 1).pairs == some.pairs
    assert survey(pairs, AS_STATED, SILENT, most_bytes=5 * own + 1, seed=1).pairs != some.pairs
    assert recorder.updates[-1].share == 1
    assert len(survey(pairs, AS_STATED, SILENT, most_bytes=own // 2).pairs) == 1  # none would say nothing
    everything = survey(pairs, AS_STATED, SILENT)
    assert (everything.pairs, everything.is_sample, everything.describe()) == (pairs, False, "")


def test_check_names_what_headers_say_of_files_that_are_not_read(tmp_path: Path, monkeypatch) -> None:
    folder = data(tmp_path)
    monkeypatch.setattr(module, "MOST_BYTES", 3 * 64 * 80)
    result = check(folder)
    assert result.errors == ()
    assert result.dataset is not None
    assert len(result.dataset.cases) == 3
    assert "a sample was read: 3 of 12 pairs" in result.survey.describe()
    assert len(check(folder, every_pixel=True).dataset.cases) == N
    read = {pair.name for pair in result.survey.pairs}
    unread = next(pair for pair in find_pairs(folder) if pair.name not in read)
    unread.image.write_bytes(unread.image.read_bytes()[:100])
    (error,) = check(folder).errors
    assert unread.image.name in error
    unread.mask.write_bytes(b"no picture")
    assert unread.image.name in check(folder).errors[0]


def test_the_command_says_that_it_read_a_sample(tmp_path: Path, monkeypatch, capsys) -> None:
    from unetkit.cli.data import check as check_verb
    from unetkit.cli.data import plan as plan_verb

    folder = data(tmp_path)
    check_verb(folder)
    assert "All files can be used" in capsys.readouterr().out
    monkeypatch.setattr(module, "MOST_BYTES", 6 * 64 * 80)
    check_verb(folder)
    said = capsys.readouterr().out
    assert "a sample was read: 6 of 12 pairs" in said
    assert "unetkit check --all reads every pixel" in said
    check_verb(folder, as_json=True)
    assert json.loads(capsys.readouterr().out)["sample"] == {"pairs": 6, "of": N}
    check_verb(folder, every_pixel=True)
    assert "All files can be used" in capsys.readouterr().out
    plan_verb(folder, steps=10, as_json=True)
    assert json.loads(capsys.readouterr().out)["data"]["n_images"] == N


def test_a_plan_holds_out_a_share_of_all_images(tmp_path: Path) -> None:
    dataset = check(data(tmp_path)).dataset
    assert dataset is not None
    plan = for_all_images(make_plan(dataset, steps=10), 2400)
    assert (plan.data.n_images, plan.data.validation_fraction) == (2400, 0.05)
    assert plan.reasons["data.validation_fraction"].startswith("about 120 of 2400 held out")
    chosen = make_plan(dataset, steps=10, settings={"data": {"validation_fraction": 0.3}})
    assert for_all_images(chosen, 2400).data.validation_fraction == 0.3


def test_a_damaged_header_of_a_volume(tmp_path: Path) -> None:
    pairs = find_pairs(data(tmp_path, ".nii.gz", (8, 24, 20)))
    broken = pairs[4].image
    broken.write_bytes(b"\x1f\x8b no gzip at all")
    nibabel.Nifti1Image(np.zeros((5, 5, 5), np.uint8), np.eye(4)).to_filename(pairs[5].mask)  # of another size
    some = survey(pairs, AS_STATED, SILENT, most_bytes=2 * 8 * 24 * 20 + 1)
    assert [problem.files[0] for problem in some.problems] == [broken]
