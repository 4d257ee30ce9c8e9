"""DICOM RTSTRUCT: areas of contours, holes, planes, and what is left out."""

import math

import numpy as np
import pytest
from dicom_files import AXIAL, SAGITTAL, box, in_body, rtstruct, series

from unetkit import io
from unetkit.io.dicom.contours import draw_contours, inside

SIZE = (6, 40, 50)


def circle(radius, centre=(20.0, 25.0), n=2000):
    angle = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return np.stack([centre[0] + radius * np.sin(angle), centre[1] + radius * np.cos(angle)], 1)


def image_of(folder, directions=AXIAL):
    return io.read(series(folder, np.zeros(SIZE, int), directions=directions))


def test_areas_of_squares_and_circles_are_theirs(tmp_path):
    square = [in_body(box(3, 4, 13, 24), k) for k in (1, 2, 3)]
    path = rtstruct(tmp_path / "rs.dcm", {"square": square, "circle": [in_body(circle(8.3), 4)]})
    labels, names, notes = draw_contours(path, image_of(tmp_path / "ct"))
    assert names == {1: "square", 2: "circle"}
    assert [int((plane == 1).sum()) for plane in labels] == [0, 200, 200, 200, 0, 0]
    rows, columns = np.mgrid[: SIZE[1], : SIZE[2]]
    centres = np.hypot(rows - 20, columns - 25) < 8.3  # a circle of 216.4 pixels
    assert np.array_equal(labels[4, ::-1, ::-1] == 2, centres)
    assert centres.sum() == pytest.approx(math.pi * 8.3**2, rel=0.03)
    assert notes == ["RTSTRUCT of 2 regions: 1 square, 2 circle"]


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL])
def test_contours_lie_where_their_series_does(directions, tmp_path):
    folder = series(tmp_path / "ct", np.zeros(SIZE, int), directions=directions)
    array = np.zeros(SIZE, int)
    array[2, 5:9, 7:20] = 100
    marked = series(tmp_path / "marked", array, directions=directions)
    path = rtstruct(tmp_path / "rs.dcm", {"block": [in_body(box(4.5, 6.5, 8.5, 19.5), 2, directions)]})
    labels, _, _ = draw_contours(path, io.read(folder))
    assert np.array_equal(labels > 0, io.read(marked).array[0] > 0)


def test_contours_in_contours_and_keyholes_are_holes(tmp_path):
    outer, hole = box(2.5, 2.5, 12.5, 12.5), box(4.5, 4.5, 8.5, 8.5)
    keyhole = [*outer, outer[0], *hole[:1], *hole[::-1], outer[0]]
    path = rtstruct(
        tmp_path / "rs.dcm", {"ring": [in_body(outer, 0), in_body(hole, 0)], "keyhole": [in_body(keyhole, 1)]}
    )
    labels, _, _ = draw_contours(path, image_of(tmp_path / "ct"))
    assert np.count_nonzero(labels == 1) == np.count_nonzero(labels == 2) == 100 - 16


def test_regions_that_share_an_edge_share_no_voxel_and_others_are_refused(tmp_path):
    image = image_of(tmp_path / "ct")
    left, right = in_body(box(2, 2, 12, 10), 0), in_body(box(2, 10, 12, 21), 0)
    labels, _, _ = draw_contours(rtstruct(tmp_path / "a.dcm", {"left": [left], "right": [right]}), image)
    assert [np.count_nonzero(labels == value) for value in (1, 2)] == [80, 110]
    path = rtstruct(tmp_path / "b.dcm", {"left": [left], "wide": [in_body(box(2, 8, 12, 21), 0)]})
    with pytest.raises(ValueError, match=r"its regions overlap \(left with wide in 20 voxels\)"):
        draw_contours(path, image)


def test_what_is_left_out_is_noted(tmp_path):
    regions = {
        "BODY": [in_body(box(0, 0, 39, 49), 0)],
        "isocentre": [in_body([(3, 4)], 0)],
        "lung": [in_body(box(2, 2, 6, 6), k) for k in (0, 3, 3.4, 9)],
    }
    path = rtstruct(tmp_path / "rs.dcm", regions, kinds={"BODY": "EXTERNAL", "isocentre": "POINT"})
    labels, names, notes = draw_contours(path, image_of(tmp_path / "ct"))
    assert names == {3: "lung"}
    assert set(np.unique(labels)) == {0, 3}
    assert notes[1:] == [
        "BODY is the outline of the patient (EXTERNAL): left out",
        "contours that are points or open lines: left out (1 of isocentre, POINT)",
        "1 of 4 contours lie outside of the image's slices: left out",
        "1 of 4 contours lie between slices: drawn on the nearest one",
        "lung has no contour on 2 slices between its first and last: empty there",
    ]


def test_contours_that_fit_no_image_are_refused(tmp_path):
    image, square = image_of(tmp_path / "ct"), box(2, 2, 6, 6)
    with pytest.raises(ValueError, match=r"none of its contours lies on a slice of its image"):
        draw_contours(rtstruct(tmp_path / "a.dcm", {"a": [in_body(square, 20)]}), image)
    tilted = in_body(square, 1) + np.array([(0, 0, z) for z in (0, 0, 3, 3)])
    with pytest.raises(ValueError, match=r"contours reach over .* slices of its image: expected each on one slice"):
        draw_contours(rtstruct(tmp_path / "b.dcm", {"a": [tilted]}), image)
    with pytest.raises(ValueError, match=r"RTSTRUCT without a closed contour"):
        draw_contours(rtstruct(tmp_path / "c.dcm", {"a": [in_body(square, 1)]}, kinds={"a": "OPEN_PLANAR"}), image)
    with pytest.raises(ValueError, match=r"damaged: a contour of a has 6 numbers, expected 3 a point"):
        draw_contours(rtstruct(tmp_path / "d.dcm", {"a": [in_body(square[:2], 1)]}), image)
    io.write(tmp_path / "flat.png", io.read(tmp_path / "ct").__class__(np.zeros((1, 4, 4), np.uint8), "cyx", (1, 1)))
    with pytest.raises(ValueError, match=r"states its place in the body, and its image none"):
        draw_contours(rtstruct(tmp_path / "e.dcm", {"a": [in_body(square, 1)]}), io.read(tmp_path / "flat.png"))


def test_polygons_of_any_corner_have_their_area():
    """By Pick's theorem and by the area of random triangles, over many offsets against the grid."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        corners = draw.uniform(5, 55, (3, 2))
        (a, b), (c, d) = corners[1] - corners[0], corners[2] - corners[0]
        expected = abs(a * d - b * c) / 2
        boundary = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).sum()
        assert abs(np.count_nonzero(inside([corners], (60, 60))) - expected) < 1 + boundary / 4
    assert np.count_nonzero(inside([np.array(box(-5, -5, 80, 80))], (60, 70))) == 60 * 70
