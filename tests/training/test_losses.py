"""Losses: torch's own as second road, hand-made sums, pixels that are not labelled, zeros with a gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

from unetkit.training.losses import (
    cl_dice,
    compound,
    cross_entropy,
    dice_cross_entropy,
    generalised_dice,
    soft_dice,
    tversky,
)

SIZES = {2: (9, 11), 3: (4, 6, 5)}
LOSSES = [cross_entropy, soft_dice, dice_cross_entropy, tversky, generalised_dice, cl_dice]


def batch(ndim, *, classes=3, n=2, ignored=0.2, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, *SIZES[ndim], generator=generator) * 2
    labels = torch.randint(0, classes, (n, *SIZES[ndim]), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return logits.requires_grad_(), labels.to(dtype)


def test_two_classes_by_hand():
    """Logits 0 and log 3 give shares 1/4 and 3/4: -log(3/4) and -log(1/4), and a Dice to be summed by hand."""
    logits = torch.zeros(1, 2, 1, 4)
    logits[:, 1] = math.log(3)
    labels = torch.tensor([[[1, 1, 0, 255]]])
    weights = torch.tensor([[[2.0, 1.0, 5.0, 100.0]]])
    expected = (3 * -math.log(3 / 4) + 5 * -math.log(1 / 4)) / 8
    assert math.isclose(cross_entropy(logits, labels, weights=weights).item(), expected, rel_tol=1e-6)
    dice = (2 * 1.5 + 1) / (2.25 + 2 + 1)
    assert math.isclose(soft_dice(logits, labels).item(), 1 - dice, rel_tol=1e-6)
    background = (2 * 0.25 + 1) / (0.75 + 1 + 1)
    both = soft_dice(logits, labels, include_background=True).item()
    assert math.isclose(both, 1 - (dice + background) / 2, rel_tol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ndim", [2, 3])
def test_cross_entropy_is_torchs(ndim, dtype):
    logits, labels = batch(ndim, dtype=dtype)
    class_weights = [0.5, 1.0, 3.0]
    plain = F.cross_entropy(logits, labels.long(), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels), plain)
    weighted = F.cross_entropy(logits, labels.long(), weight=torch.tensor(class_weights), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels, class_weights=class_weights), weighted)


@pytest.mark.parametrize("ndim", [2, 3])
def test_whole_weights_are_repeated_pixels(ndim):
    """A pixel of weight 3 counts as three pixels of weight 1; the scale of the weights does not matter."""
    logits, labels = batch(ndim)
    weights = torch.randint(0, 4, labels.shape, generator=torch.Generator().manual_seed(1)).float()
    repeats = (weights * (labels != 255)).long().flatten()
    rows = logits.movedim(1, -1).reshape(-1, 3).repeat_interleave(repeats, dim=0)
    expected = F.cross_entropy(rows, labels.flatten().long().repeat_interleave(repeats))
    torch.testing.assert_close(cross_entropy(logits, labels, weights=weights), expected)
    torch.testing.assert_close(cross_entropy(logits, labels, weights=weights * 7), expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_soft_dice_of_certain_logits_is_one_minus_dice(ndim):
    """Saturated logits make the soft Dice the Dice of two label images, pooled over the batch."""
    _, labels = batch(ndim, ignored=0)
    predicted = labels.roll(1, dims=-1).long()
    logits = F.one_hot(predicted, 3).movedim(-1, 1) * 100.0
    scores = []
    for k in (1, 2):
        a, b = predicted == k, labels == k
        scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    torch.testing.assert_close(soft_dice(logits, labels, smooth=0), 1 - sum(scores) / 2)
    perfect = F.one_hot(labels.long(), 3).movedim(-1, 1) * 100.0
    assert soft_dice(perfect, labels).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_absent_classes_are_left_out_of_dice(ndim):
    logits, labels = batch(ndim)
    labels[labels == 2] = 0
    wide = torch.cat([logits, torch.full_like(logits[:, :1], -100)], dim=1)  # a fourth class, never predicted
    torch.testing.assert_close(soft_dice(wide, labels), soft_dice(logits, labels))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("ndim", [2, 3])
def test_pixels_without_label_count_for_nothing(ndim, loss):
    logits, labels = batch(ndim)
    other = torch.where((labels == 255)[:, None], -logits.detach() * 5 + 3, logits.detach()).requires_grad_()
    value = loss(logits, labels)
    torch.testing.assert_close(loss(other, labels), value)
    (gradient,) = torch.autograd.grad(value, logits)
    masked = (labels == 255)[:, None].expand_as(gradient)
    assert torch.equal(gradient[masked], torch.zeros_like(gradient[masked]))
    assert bool((gradient[~masked] != 0).any())


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_labelled_is_zero_with_a_gradient(loss):
    logits, labels = batch(2)
    value = loss(logits, torch.full_like(labels, 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_zero_weights_and_only_background_are_zero_with_a_gradient():
    logits, labels = batch(2)
    value = cross_entropy(logits, labels, weights=torch.zeros(labels.shape))
    value = value + soft_dice(logits, torch.zeros_like(labels))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_another_ignore_value():
    logits, labels = batch(2, dtype=torch.int64)
    renamed = labels.where(labels != 255, -1)
    for loss in LOSSES:
        torch.testing.assert_close(loss(logits, renamed, ignore=-1), loss(logits, labels))


def test_the_sum_is_the_sum():
    logits, labels = batch(3)
    weights = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2))
    both = dice_cross_entropy(logits, labels, weights=weights, class_weights=[1, 2, 3], include_background=True)
    parts = cross_entropy(logits, labels, weights=weights, class_weights=[1, 2, 3])
    torch.testing.assert_close(both, parts + soft_dice(logits, labels, include_background=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_the_slopes(loss):
    """Central differences in float64 are out of reach, as losses are float32: compare along one direction."""
    logits, labels = batch(2)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    step = 1e-2
    with torch.no_grad():
        slope = (loss(logits + step * direction, labels) - loss(logits - step * direction, labels)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_bfloat16_logits_are_summed_in_float32(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 128, 128, generator=generator).bfloat16()
    labels = torch.randint(0, 2, (1, 128, 128), generator=generator, dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), labels))


@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_fit_is_refused(loss):
    logits, labels = batch(2)
    with pytest.raises(ValueError, match=r"\(2, 9, 11\) but labels have \(2, 9, 10\): crop the labels"):
        loss(logits, labels[..., 1:])
    with pytest.raises(ValueError, match=r"logits have 1 channel: build the net with 2 classes"):
        loss(logits[:, :1], labels)
    with pytest.raises(ValueError, match=r"label 3 is none of the 3 classes \(0 to 2, 255 is ignored\)"):
        loss(logits, labels.where(labels != 255, 3))
    with pytest.raises(ValueError, match=r"label -4 is none of the 3 classes"):
        loss(logits, labels.long().where(labels != 255, -4))
    with pytest.raises(ValueError, match=r"labels are torch.float32"):
        loss(logits, labels.float())


def test_weights_that_do_not_fit_are_refused():
    logits, labels = batch(2)
    with pytest.raises(ValueError, match=r"weights of shape \(2, 1, 9, 11\) do not cover labels \(2, 9, 11\)"):
        cross_entropy(logits, labels, weights=torch.ones(2, 1, 9, 11))
    with pytest.raises(ValueError, match=r"2 class weights for 3 classes"):
        cross_entropy(logits, labels, class_weights=[1.0, 2.0])


# --- kin of the two ---


def certain(labels, classes=2):
    """Logits that are sure of some labels."""
    return (F.one_hot(labels.long(), classes).movedim(-1, 1).float() - 0.5) * 200


def test_focal_by_hand():
    """Shares 1/4 and 3/4: -log(3/4) (1/4)^2 where right, -log(1/4) (3/4)^2 where wrong."""
    logits = torch.zeros(1, 2, 1, 2)
    logits[:, 1] = math.log(3)
    labels = torch.tensor([[[1, 0]]])
    expected = (-math.log(3 / 4) / 16 - math.log(1 / 4) * 9 / 16) / 2
    assert math.isclose(cross_entropy(logits, labels, gamma=2.0).item(), expected, rel_tol=1e-5)


def test_tversky_by_hand():
    logits, labels = torch.zeros(1, 2, 1, 4), torch.tensor([[[1, 1, 0, 255]]])
    logits[:, 1] = math.log(3)
    overlap, wrong, missed = 1.5, 0.75, 0.5
    expected = 1 - (overlap + 0.5) / (overlap + 0.2 * wrong + 0.8 * missed + 0.5)
    assert math.isclose(tversky(logits, labels, alpha=0.2, beta=0.8).item(), expected, rel_tol=1e-6)


def test_generalised_dice_by_hand():
    logits, labels = torch.zeros(1, 2, 1, 4), torch.tensor([[[1, 0, 0, 0]]])
    logits[:, 1] = math.log(3)
    dice = 2 * (0.75 / 9 + 0.75) / ((1 + 3) / 9 + (3 + 1))  # overlaps and volumes, over the squares of the true ones
    assert math.isclose(generalised_dice(logits, labels).item(), 1 - dice, rel_tol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_gap_in_a_line_costs_more_by_its_line_than_by_its_area(ndim):
    """Of a line 3 wide and 40 long, 8 pixels of length are missed; or as many pixels, but along one side."""
    size = (21, 50) if ndim == 2 else (21, 21, 50)
    truth = torch.zeros((1, *size), dtype=torch.uint8)
    truth[(0, *[slice(9, 12)] * (ndim - 1), slice(5, 45))] = 1
    gap, side = truth.clone(), truth.clone()
    gap[..., 20:28] = 0
    if ndim == 2:
        side[:, 9, 5:29] = 0
    else:
        side[:, 9, 9:12, 5:29] = 0
    assert gap.sum() == side.sum()
    line, area = ([loss(certain(one), truth).item() for one in (gap, side)] for loss in (cl_dice, soft_dice))
    assert cl_dice(certain(truth), truth).item() == pytest.approx(0, abs=1e-3)
    assert area[0] == pytest.approx(area[1], abs=1e-4)
    assert line[0] > 2 * line[1]


@pytest.mark.parametrize("name", ["dice", "focal", "tversky", "generalised", "cldice"])
def test_every_sum_teaches_a_few_pixels(name):
    labels = torch.zeros(1, 24, 24, dtype=torch.uint8)
    labels[:, 4:7, 4:20] = 1
    logits = torch.zeros(1, 2, 24, 24, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimiser.zero_grad()
        compound(name, logits, labels).backward()
        optimiser.step()
    assert torch.equal(logits.argmax(1), labels.long())
    if name == "dice":
        assert compound(name, logits, labels) == dice_cross_entropy(logits, labels)
    with pytest.raises(ValueError, match="loss is 'hinge'; expected dice, focal"):
        compound("hinge", logits, labels)
