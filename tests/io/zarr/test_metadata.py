"""What the metadata of a folder says about its image; no array is read, so that none needs to be there."""

import json
from pathlib import Path

import pytest

from unetkit.io.zarr.labels import label_images
from unetkit.io.zarr.metadata import Axis, FullResolution, full_resolution, read_node

SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]


def save(path: Path, said: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said if isinstance(said, str) else json.dumps(said))


def group(folder: Path, ome: object, *, form: int = 3) -> Path:
    """A group with OME metadata, as in OME-Zarr 0.5 (Zarr format 3) or 0.4 (2)."""
    if form == 3:
        save(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}})
    else:
        save(folder / ".zgroup", {"zarr_format": 2})
        save(folder / ".zattrs", ome)
    return folder


def image(axes: object = SPACE, scale: object = (0.5, 0.25), **more: object) -> dict:
    scaled = [{"type": "scale", "scale": list(scale)}] if isinstance(scale, tuple) else scale
    return {"multiscales": [{"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": scaled}], **more}]}


def letters(found: FullResolution) -> str:
    assert found.axes is not None
    return "".join(axis.letter or "?" for axis in found.axes)


@pytest.mark.parametrize("form", [2, 3])
def test_the_first_level_with_its_axes(tmp_path: Path, form: int) -> None:
    found = full_resolution(group(tmp_path, image(), form=form))
    assert found.name == "s0"
    assert found.axes == (Axis("y", "y", 0.5, "micrometer"), Axis("x", "x", 0.25, "micrometer"))
    assert found.notes == ()


def test_scales_of_the_level_and_of_all_levels_are_multiplied(tmp_path: Path) -> None:
    both = [{"type": "translation", "translation": [9, 9]}, {"type": "scale", "scale": [10, 100]}]
    found = full_resolution(group(tmp_path, image(coordinateTransformations=both)))
    assert [axis.step for axis in found.axes or ()] == [5, 25]
    found = full_resolution(group(tmp_path, image(scale=None, coordinateTransformations=both)))
    assert [axis.step for axis in found.axes or ()] == [10, 100]


@pytest.mark.parametrize("form", [2, 3])
def test_a_place_is_that_of_the_level_within_that_of_all_levels(tmp_path: Path, form: int) -> None:
    """In each list the scale comes first: the translation of a level is scaled once more, by that of all levels."""
    own = [{"type": "scale", "scale": [2, 4]}, {"type": "translation", "translation": [0.5, 1.5]}]
    of_all = [{"type": "scale", "scale": [10, 100]}, {"type": "translation", "translation": [9, -7]}]
    found = full_resolution(group(tmp_path, image(scale=own, coordinateTransformations=of_all), form=form))
    assert [axis.step for axis in found.axes or ()] == [20, 400]
    assert [axis.start for axis in found.axes or ()] == [0.5 * 10 + 9, 1.5 * 100 - 7]
    found = full_resolution(group(tmp_path, image(scale=own), form=form))
    assert [axis.start for axis in found.axes or ()] == [0.5, 1.5]
    found = full_resolution(group(tmp_path, image(coordinateTransformations=of_all), form=form))
    assert [axis.start for axis in found.axes or ()] == [9, -7]
    found = full_resolution(group(tmp_path, image(coordinateTransformations=of_all[:1]), form=form))
    assert [axis.start for axis in found.axes or ()] == [None, None]


@pytest.mark.parametrize("scale", [None, [], "none", [{"type": "identity"}], [3]])
def test_without_a_scale_no_unit_is_believed(tmp_path: Path, scale: object) -> None:
    said = {"multiscales": [{"axes": SPACE, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]}
    found = full_resolution(group(tmp_path, said))
    assert found.axes == (Axis("y", "y"), Axis("x", "x"))


@pytest.mark.parametrize("scale", [[1.0], "far", {"path": "scales"}])
def test_a_scale_that_is_no_number_is_nan(tmp_path: Path, scale: object) -> None:
    said = image(scale=[{"type": "scale", "scale": scale}])
    assert [str(axis.step) for axis in full_resolution(group(tmp_path, said)).axes or ()] == ["nan", "nan"]


@pytest.mark.parametrize(
    ("axes", "expected", "note"),
    [
        (list("tczyx"), "tczyx", ""),  # OME-Zarr 0.3
        (["Z", "Y", "X"], "zyx", ""),
        ([{"name": "row", "type": "space"}, {"name": "col", "type": "space"}], "yx", "axes row, col taken to be y, x"),
        ([{"name": "z", "type": "space"}, {"name": "y", "type": "space"}], "yx", "axes z, y taken to be y, x"),
        ([{"name": "phase"}, *SPACE], "?yx", ""),
        ([{"name": "angle", "type": "custom"}, *SPACE], "?yx", ""),
        ([{"name": "stain", "type": "channel"}, *SPACE], "cyx", ""),
        ([*SPACE, {"name": "c", "type": None}], "yxc", ""),
    ],
)
def test_letters_of_axes(tmp_path: Path, axes: object, expected: str, note: str) -> None:
    found = full_resolution(group(tmp_path, image(axes, None)))
    assert letters(found) == expected
    assert found.notes == ((note,) if note else ())


def test_the_first_versions_name_no_axes(tmp_path: Path) -> None:
    said = {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}
    assert letters(full_resolution(group(tmp_path, said, form=2))) == "tczyx"


def test_several_images_in_one_group(tmp_path: Path) -> None:
    said = image()
    said["multiscales"] *= 2
    assert full_resolution(group(tmp_path, said)).notes == ("first of 2 multiscale images read",)


@pytest.mark.parametrize(
    ("dimensions", "expected"), [(["c", "y", "x"], "cyx"), (None, None), (["y", None], None), ([], None)]
)
def test_an_array_without_ome_metadata(tmp_path: Path, dimensions: object, expected: str | None) -> None:
    save(tmp_path / "zarr.json", {"zarr_format": 3, "node_type": "array", "dimension_names": dimensions})
    found = full_resolution(tmp_path)
    assert found.name == ""
    assert (found.axes and letters(found)) == expected


def test_an_array_with_the_names_of_xarray(tmp_path: Path) -> None:
    save(tmp_path / ".zarray", {"zarr_format": 2})
    assert full_resolution(tmp_path).axes is None
    save(tmp_path / ".zattrs", {"_ARRAY_DIMENSIONS": ["z", "y", "x"]})
    assert letters(full_resolution(tmp_path)) == "zyx"
    save(tmp_path / ".zattrs", {"_ARRAY_DIMENSIONS": ["lat", "lon"]})
    with pytest.raises(ValueError, match="axes lat, lon: expected 2 or 3 of them in space, got 0"):
        full_resolution(tmp_path)


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("is_listed", [True, False])
def test_the_only_image_of_bioformats2raw(tmp_path: Path, form: int, is_listed: bool) -> None:
    group(tmp_path, {"bioformats2raw.layout": 3}, form=form)
    group(tmp_path / "0", image(), form=form)
    group(tmp_path / "OME", {"series": ["0"]} if is_listed else {}, form=form)
    assert full_resolution(tmp_path).name == "0/s0"


@pytest.mark.parametrize("form", [2, 3])
def test_several_images_of_bioformats2raw(tmp_path: Path, form: int) -> None:
    folder = group(tmp_path / "a.zarr", {"bioformats2raw.layout": 3}, form=form)
    with pytest.raises(ValueError, match=r"a collection of bioformats2raw with 0 images, expected one$"):
        full_resolution(folder)
    for number in "012":
        group(folder / number, image(), form=form)
    with pytest.raises(ValueError, match=r"with 3 images, expected one: name one, such as a\.zarr/0$"):
        full_resolution(folder)
    group(folder / "OME", {"series": ["9"]}, form=form)
    with pytest.raises(ValueError, match="whose image 9 is missing or has no multiscales"):
        full_resolution(folder)


def test_plates_and_wells(tmp_path: Path) -> None:
    folder = group(tmp_path / "p.zarr", {"plate": {"wells": [{"path": "B/3"}, {"path": "B/4"}]}})
    with pytest.raises(ValueError, match=r"a plate of 2 wells: expected one image; .* such as p\.zarr/B/3/0$"):
        full_resolution(folder)
    group(folder / "B/3", {"well": {"images": [{"path": "f7"}]}})
    with pytest.raises(ValueError, match=r"a plate of 2 wells: expected one image; .* such as p\.zarr/B/3/f7$"):
        full_resolution(folder)
    with pytest.raises(ValueError, match=r"a well of 1 images: expected one image; name one of them, such as 3/f7$"):
        full_resolution(folder / "B/3")


def test_a_group_without_metadata_names_its_arrays(tmp_path: Path) -> None:
    folder = group(tmp_path / "a.zarr", {})
    with pytest.raises(ValueError, match=r"without OME metadata \(multiscales\): no arrays$"):
        full_resolution(folder)
    for name in "ba":
        save(folder / name / "zarr.json", {"node_type": "array"})
    with pytest.raises(ValueError, match=r"\(multiscales\): of its arrays a, b name one, such as a\.zarr/a$"):
        full_resolution(folder)


@pytest.mark.parametrize("said", [[], {}, [{}], [{"datasets": []}], [{"datasets": [{"path": 3}]}], ["0"], "0"])
def test_multiscales_without_levels(tmp_path: Path, said: object) -> None:
    with pytest.raises(ValueError, match="multiscales without datasets, so that no level is named: "):
        full_resolution(group(tmp_path, {"multiscales": said}))


@pytest.mark.parametrize("axes", [{}, {"axes": []}, {"coordinateSystems": [{"axes": SPACE}]}])
def test_multiscales_that_name_no_axes(tmp_path: Path, axes: dict) -> None:
    said = {"version": "0.6", "multiscales": [{"datasets": [{"path": "0"}], **axes}]}
    with pytest.raises(ValueError, match=r"version '0\.6' that name no axes: expected OME-Zarr 0\.4 or 0\.5; .* as 0$"):
        full_resolution(group(tmp_path, said))


@pytest.mark.parametrize(("axes", "count"), [(["x"], 1), (["c", "t"], 0), (["z", "y", "x", "y"], 4)])
def test_axes_that_are_not_two_or_three_in_space(tmp_path: Path, axes: list[str], count: int) -> None:
    with pytest.raises(ValueError, match=rf"axes {', '.join(axes)}: expected 2 or 3 of them in space, got {count}"):
        full_resolution(group(tmp_path, image(axes, None)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"zarr_format": 3, "no', r"zarr\.json is not JSON, damaged or truncated \(Unterminated string"),
        ("", r"zarr\.json is not JSON, damaged or truncated \(Expecting value"),
        ("[1]", r"zarr\.json holds list '\[1\]': expected a JSON object"),
        ('{"node_type": "file"}', r"zarr\.json with node_type 'file': expected 'array' or 'group'"),
    ],
)
def test_damaged_metadata(tmp_path: Path, text: str, message: str) -> None:
    save(tmp_path / "zarr.json", text)
    with pytest.raises(ValueError, match=message):
        full_resolution(tmp_path)
    save(tmp_path / "deep" / "0" / "zarr.json", text)
    with pytest.raises(ValueError, match=r"deep/0/" + message):
        read_node(tmp_path, "deep/0")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / ".zgroup").write_bytes(b"{}")
    (tmp_path / ".zattrs").write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match=r"\.zattrs is not JSON, damaged or truncated \("):
        full_resolution(tmp_path)


def test_a_folder_that_is_no_zarr(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a folder without zarr\.json, \.zgroup or \.zarray: no Zarr hierarchy"):
        full_resolution(tmp_path)
    assert read_node(tmp_path, "0") is None


def test_no_path_leaves_the_image(tmp_path):
    (tmp_path / "a.zarr" / "labels").mkdir(parents=True)
    (tmp_path / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "a.zarr" / "labels" / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "a.zarr" / "labels" / ".zattrs").write_text('{"labels": ["../../other.zarr"]}')
    with pytest.raises(ValueError, match=r"names 'labels/\.\./\.\./other\.zarr', which lies outside of"):
        label_images(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=r"names '\.\./other\.zarr', which lies outside of"):
        read_node(tmp_path / "a.zarr", "../other.zarr")
