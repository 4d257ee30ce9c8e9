"""A run goes on with the images and masks that it was planned with; what has changed is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.dataset import Case
from unetkit.training.data_record import check_record, held_out_names, write_record


@pytest.fixture(params=[2, 3])
def cases(request, tmp_path):
    made = []
    for i in range(4):
        path = tmp_path / f"a{i}.raw"
        path.write_bytes(bytes([i] * 20))
        labels = np.full((4,) * request.param, i % 2, np.uint8)
        made.append(Case(f"a{i}", labels[None].astype(np.float32), labels, None, None, path))
    write_record(tmp_path / "data.json", made)
    return made


def refused(tmp_path, cases):
    with pytest.raises(ValueError, match="the data are not those that") as caught:
        check_record(tmp_path / "data.json", cases)
    return str(caught.value)


def test_the_same_data_in_any_order(cases, tmp_path):
    check_record(tmp_path / "data.json", cases[::-1])
    check_record(tmp_path / "run of before" / "data.json", cases)


def test_what_has_changed_is_named(cases, tmp_path):
    named = [replace(case, name=f"b{9 - i}") for i, case in enumerate(cases)]
    assert "under other names: a0 as b9, a1 as b8, a2 as b7, a3 as b6." in refused(tmp_path, named)
    assert "planned with: missing: a3." in refused(tmp_path, cases[:3])
    other = replace(cases[0], name="c", labels=cases[0].labels + 1)
    assert "planned with: new: c." in refused(tmp_path, [*cases, other])
    mask = replace(cases[1], labels=1 - cases[1].labels)
    assert "planned with: with another mask: a1." in refused(tmp_path, [cases[0], mask, *cases[2:]])
    cases[2].path.write_bytes(b"other")
    assert "planned with: with another image: a2." in refused(tmp_path, cases)


def test_a_folder_is_held_by_its_files(cases, tmp_path):
    folder = tmp_path / "v.zarr"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "c").write_bytes(b"1")
    made = [replace(cases[0], path=folder)]
    write_record(tmp_path / "data.json", made)
    check_record(tmp_path / "data.json", made)
    (folder / "0" / "c").write_bytes(b"2")
    assert "with another image: a0" in refused(tmp_path, made)


def test_a_damaged_record(tmp_path):
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(ValueError, match=r"data\.json: cannot be read"):
        check_record(Path(tmp_path / "data.json"), [])


def test_which_were_held_out(cases, tmp_path):
    write_record(tmp_path / "data.json", cases, held_out={"a1", "a3"})
    assert held_out_names(tmp_path / "data.json") == {"a1", "a3"}
    assert held_out_names(tmp_path / "none.json") is None
    (tmp_path / "old.json").write_text('{"cases": [{"name": "a1"}]}')
    assert held_out_names(tmp_path / "old.json") is None
    (tmp_path / "deep.json").write_text('{"cases": ' + "[" * 2000 + "]" * 2000 + "}")
    assert held_out_names(tmp_path / "deep.json") is None
