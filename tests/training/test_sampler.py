"""Batches by number: repeatable, fair to every image and to rare classes, labels and weights in step with the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit.data.dataset import Case
from unetkit.training.augment.augment import Augmentation
from unetkit.training.sampler import Sampler

PATCH = {2: (16, 24), 3: (8, 12, 16)}
SIZE = {2: (40, 50), 3: (20, 30, 25)}


def case(labels, *, image=None, weights=None, name="c"):
    labels = np.asarray(labels, np.uint8)
    image = labels[None] if image is None else image
    return Case(name, np.asarray(image, np.float32), labels, weights, None, Path(name))


def coordinates(size, name="c"):
    """A case whose channels are the pixel's own coordinates, and whose labels are a checkerboard made from them."""
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")).astype(np.float32)
    weights = (1 + places.sum(0) / 100).astype(np.float32)
    return case(places.sum(0) % 3, image=places, weights=weights, name=name)


def sampler(cases, patch, *, target=None, batch=4, augmentation=None, seed=0, planes=None):
    return Sampler(cases, patch, target or patch, batch, augmentation or Augmentation.none(), seed, planes=planes)


def tensors(batch):
    return [batch.images, batch.labels, *([] if batch.weights is None else [batch.weights])]


# --- repeatable ---


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_batch_is_the_same_whenever_it_is_drawn(ndim):
    cases = [coordinates(SIZE[ndim], f"c{i}") for i in range(3)]
    one, other = (sampler(cases, PATCH[ndim], augmentation=Augmentation(), seed=5) for _ in range(2))
    in_order = [one.draw(step) for step in range(4)]
    torch.manual_seed(99)
    for step in (3, 0, 2, 3):
        for a, b in zip(tensors(in_order[step]), tensors(other.draw(step)), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(in_order[0].images, in_order[1].images)
    assert not torch.equal(
        sampler(cases, PATCH[ndim], augmentation=Augmentation(), seed=6).draw(0).images, in_order[0].images
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_and_dtypes(ndim):
    target = tuple(n - 6 for n in PATCH[ndim])
    batch = sampler([coordinates(SIZE[ndim])], PATCH[ndim], target=target, batch=3, augmentation=Augmentation()).draw(7)
    assert batch.images.shape == (3, ndim, *PATCH[ndim])
    assert batch.labels.shape == batch.weights.shape == (3, *target)
    assert (batch.images.dtype, batch.labels.dtype, batch.weights.dtype) == (torch.float32, torch.uint8, torch.float32)
    plain = sampler([case(np.zeros(SIZE[ndim]))], PATCH[ndim]).draw(0)
    assert plain.weights is None


# --- where patches lie ---


@pytest.mark.parametrize("ndim", [2, 3])
def test_patches_lie_inside_the_image_and_reach_all_of_it(ndim):
    drawn = sampler([coordinates(SIZE[ndim])], PATCH[ndim], batch=8)
    seen = np.zeros(SIZE[ndim], bool)
    for step in range(60):
        for places in drawn.draw(step).images.numpy().astype(int):
            first = places[(slice(None), *(0,) * ndim)]
            expected = np.stack(
                np.meshgrid(*(np.arange(f, f + p) for f, p in zip(first, PATCH[ndim], strict=True)), indexing="ij")
            )
            assert np.array_equal(places, expected)
            seen[tuple(places)] = True
    assert seen.all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_target_is_the_middle_of_the_patch(ndim):
    target = tuple(n - 2 * (i + 1) for i, n in enumerate(PATCH[ndim]))
    batch = sampler([coordinates(SIZE[ndim])], PATCH[ndim], target=target).draw(3)
    middle = (slice(None), *(slice(i + 1, n - i - 1) for i, n in enumerate(PATCH[ndim])))
    total = batch.images.sum(1)[middle]
    assert torch.equal(batch.labels.float(), total % 3)
    torch.testing.assert_close(batch.weights, 1 + total / 100)


def test_weights_and_labels_move_with_the_image():
    """Under all flips and turns, what was computed from the image is still what is computed from the image."""
    settings = replace(Augmentation.none(), flip=True, quarter_turns=True)
    drawn = sampler([coordinates(SIZE[2])], (16, 16), target=(10, 10), augmentation=settings)
    turned = 0
    for step in range(6):
        batch = drawn.draw(step)
        total = batch.images.sum(1)[:, 3:13, 3:13].round()
        turned += int((batch.images[:, 0, 0, 0] > batch.images[:, 0, -1, -1]).sum())
        assert torch.equal(batch.labels.float(), total % 3)
        torch.testing.assert_close(batch.weights, 1 + total / 100, atol=1e-4, rtol=0)
    assert turned > 3


@pytest.mark.parametrize(("ndim", "size"), [(2, (5, 50)), (2, (1, 7)), (3, (3, 30, 4))])
def test_images_smaller_than_the_patch_are_mirrored(ndim, size):
    small = coordinates(size)
    batch = sampler([small], PATCH[ndim]).draw(0)
    for places, labels in zip(batch.images.numpy().astype(int), batch.labels.numpy(), strict=True):
        assert np.array_equal(labels, small.labels[tuple(places)])
        for axis, n in enumerate(size):
            line = np.moveaxis(places[axis], axis, 0).reshape(PATCH[ndim][axis], -1)[:, 0]
            steps = np.abs(np.diff(line))
            assert set(steps) == {1} if n > 1 else not steps.any()  # mirrored without a jump or a repeated edge
            assert n >= PATCH[ndim][axis] or len(np.unique(line)) == n


def test_an_image_smaller_than_the_patch_lies_anywhere_in_it():
    drawn = sampler([coordinates((12, 30))], (16, 16), batch=8)
    firsts = set()
    for step in range(10):
        firsts |= {int(np.flatnonzero(rows == 0)[0]) for rows in drawn.draw(step).images[:, 0, :, 0].numpy()}
    assert firsts == {0, 1, 2, 3, 4}


def test_a_valid_net_learns_the_border_too():
    """Its target reaches every pixel of an image that is smaller than its patch."""
    drawn = sampler([coordinates((30, 30))], (44, 44), target=(4, 4), batch=8)
    seen = np.zeros((30, 30), bool)
    for step in range(120):
        places = drawn.draw(step).images.numpy().astype(int)[:, :, 20:24, 20:24]
        seen[places[:, 0], places[:, 1]] = True
    assert seen[[0, 0, -1, -1, 15], [0, -1, 0, -1, 0]].all()
    assert seen.mean() > 0.9


# --- fairness ---


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_every_image_is_seen_equally_often(batch):
    n = 5
    cases = [case(np.zeros((20, 20)), image=np.full((1, 20, 20), i), name=str(i)) for i in range(n)]
    drawn = sampler(cases, (8, 8), batch=batch)
    order = [int(image.mean()) for step in range(4 * n) for image in drawn.draw(step).images]
    epochs = [order[i : i + n] for i in range(0, len(order), n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize(("patch", "target"), [(64, 64), (64, 20)])
def test_a_rare_class_is_in_a_quarter_of_the_patches(patch, target):
    labels = np.zeros((512, 512), np.uint8)
    labels[300:303, 77:80] = 1
    settings = Augmentation(noise_std=0, blur_sigma_px=0)
    drawn = sampler([case(labels)], (patch, patch), target=(target, target), augmentation=settings)
    hits = sum(int((batch == 1).any()) for step in range(50) for batch in drawn.draw(step).labels)
    assert hits >= 200 / 4


def test_unlabelled_pixels_are_not_drawn_around():
    labels = np.zeros((300, 300), np.uint8)
    labels[:3, :3] = 255
    drawn = sampler([case(labels)], (16, 16))
    hits = sum(int((batch == 255).any()) for step in range(50) for batch in drawn.draw(step).labels)
    assert hits < 20


# --- sparse labels ---


def sparse(size, planes, value=0):
    """Labels in some planes of the first axis only."""
    labels = np.full(size, 255, np.uint8)
    labels[list(planes)] = value
    return labels


SETTINGS = {"plain": Augmentation.none(), "full": Augmentation(), "oriented": Augmentation(rotation_deg=90.0)}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_patch_shows_something_labelled(ndim, settings):
    """One line in the corner of a large image, and a target smaller than the patch: warping often loses it."""
    size, patch = {2: ((200, 210), (20, 20)), 3: ((40, 40, 50), (8, 12, 12))}[ndim]
    labels = np.full(size, 255, np.uint8)
    labels[(0,) * (ndim - 1)][:3] = 0
    drawn = sampler([case(labels)], patch, target=tuple(n - 4 for n in patch), augmentation=SETTINGS[settings])
    for step in range(30):
        assert (drawn.draw(step).labels != 255).flatten(1).any(1).all()


def test_labels_stay_in_step_where_a_sample_is_left_as_it_was_cut():
    """Labels and weights are computed from the image, but for what is not labelled."""
    places = coordinates((60, 60))
    labels = np.full((60, 60), 255, np.uint8)
    labels[0, :2] = places.labels[0, :2]
    settings = replace(Augmentation.none(), rotation_deg=180.0)
    drawn = sampler([replace(places, labels=labels)], (16, 16), target=(10, 10), augmentation=settings, batch=8)
    cut = 0
    for step in range(10):
        batch = drawn.draw(step)
        total = batch.images.sum(1)[:, 3:13, 3:13]
        exact = (total - total.round()).abs().flatten(1).amax(1) < 1e-4
        known = (batch.labels != 255) & exact[:, None, None]
        assert torch.equal(batch.labels[known].float(), (total.round() % 3)[known])
        torch.testing.assert_close(batch.weights[exact], (1 + total / 100)[exact], atol=1e-4, rtol=0)
        cut += int(exact.sum())
    assert cut > 5


def test_sparse_planes_are_found_and_seen_alike():
    labels = sparse((50, 30, 30), (3, 25, 46))
    image = np.broadcast_to(np.arange(50.0)[:, None, None], (50, 30, 30))[None]
    drawn = sampler([case(labels, image=image)], (1, 8, 8), batch=8)
    seen = np.concatenate([drawn.draw(step).images[:, 0, 0, 0, 0].numpy() for step in range(40)])
    counts = [int((seen == z).sum()) for z in (3, 25, 46)]
    assert sum(counts) == 320
    assert min(counts) > 60


def test_whole_masks_are_drawn_as_before_sparse_ones_were_known():
    """A mask with one unlabelled pixel costs no random number: the same patches as without it."""
    whole = coordinates((40, 50))
    labels = whole.labels.copy()
    labels[39, 48] = 255  # a background pixel, as foreground is looked up
    one, other = (sampler([c], (8, 8)) for c in (whole, replace(whole, labels=labels)))
    drawn = [(one.draw(step).images, other.draw(step).images) for step in range(5)]
    assert sum(torch.equal(a, b) for a, b in drawn) >= 4


# --- planes of volumes ---


@pytest.mark.parametrize("planes", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 2])
def test_planes_become_channels_and_labels_those_of_the_middle(planes, channels):
    places = coordinates((6, 20, 30))
    image = np.stack([places.image[0] + 100 * c for c in range(channels)])
    weights = (1 + places.image.sum(0) / 100).astype(np.float32)
    labels = places.image[0].astype(np.uint8) % 4
    drawn = sampler([case(labels, image=image, weights=weights)], (8, 10), planes=planes, batch=3)
    for step in range(20):
        batch = drawn.draw(step)
        assert batch.images.shape == (3, channels * planes, 8, 10)
        assert batch.labels.shape == batch.weights.shape == (3, 8, 10)
        for sample, labels in zip(batch.images, batch.labels, strict=True):
            given = sample[:, 0, 0].reshape(channels, planes)
            middle = int(given[0, planes // 2])
            padded = np.pad(np.arange(6), 5, mode="reflect")
            wanted = padded[5 + middle - planes // 2 :][:planes]
            for c in range(channels):
                assert (given[c] - 100 * c).tolist() == wanted.tolist()
            assert (labels == middle % 4).all()


def test_each_plane_is_equally_likely():
    places = coordinates((6, 20, 30))
    drawn = sampler([case(np.zeros((6, 20, 30)), image=places.image[:1])], (8, 8), planes=3, batch=10)
    seen = np.concatenate([drawn.draw(step).images[:, 1, 0, 0].numpy() for step in range(60)])
    counts = np.bincount(seen.astype(int), minlength=6)
    assert len(counts) == 6
    assert counts.min() > 60
    assert counts.max() < 145


def test_planes_are_augmented_as_images():
    settings = replace(Augmentation.none(), flip=True, quarter_turns=True)
    places = coordinates((6, 24, 24))
    labels = (places.image[1] + places.image[2]).astype(int) % 3
    drawn = sampler([case(labels, image=places.image)], (12, 12), planes=3, augmentation=settings)
    for step in range(4):
        batch = drawn.draw(step)
        middle = batch.images.reshape(4, 3, 3, 12, 12)[:, :, 1]
        assert torch.equal(batch.labels.float(), (middle[:, 1] + middle[:, 2]).round() % 3)
        depth = batch.images.reshape(4, 3, 3, 12, 12)[:, 0]
        assert torch.equal(depth, depth[:, :, :1, :1].expand_as(depth))


def test_sparse_planes_are_the_ones_that_are_drawn():
    image = np.broadcast_to(np.arange(50.0)[:, None, None], (50, 30, 30))[None]
    drawn = sampler([case(sparse((50, 30, 30), (0, 20)), image=image)], (8, 8), planes=1, batch=8)
    seen = {z for step in range(20) for z in drawn.draw(step).images[:, 0, 0, 0].int().tolist()}
    assert seen == {0, 20}
