"""Batches by number: repeatable, fair to every image and to rare classes, labels and weights in step with the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit.learn.augment import Augmentation
from unetkit.learn.data import Case
from unetkit.learn.sample import Sampler, mirror

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


def sampler(cases, patch, *, target=None, batch=4, augmentation=None, seed=0):
    return Sampler(cases, patch, target or patch, batch, augmentation or Augmentation.none(), seed)


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


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_mirror_is_numpy_reflection(n):
    padded = np.pad(np.arange(n), 20, mode="reflect" if n > 1 else "edge")
    for start in range(-20, n + 5):
        assert mirror(start, 15, n).tolist() == padded[start + 20 : start + 35].tolist()


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
