"""Trainings of tiny nets on synthetic cases, for tests."""

from pathlib import Path

import numpy as np
import torch

from unetkit.data.dataset import Case
from unetkit.nets.architecture import Architecture
from unetkit.training.augment.augment import Augmentation
from unetkit.training.plan.files import upgrade_plan_1
from unetkit.training.plan.plan import Plan
from unetkit.training.sampler import Sampler
from unetkit.training.state import Training

PATCH = {2: (16, 16), 3: (8, 8, 8)}


def cases(ndim, n=3, seed=0):
    made = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        labels = np.zeros((30, 34) if ndim == 2 else (10, 18, 20), np.uint8)
        labels[..., 5:14, 4:15] = 1
        image = (labels * 2.0 - 0.5 + rng.normal(0, 0.3, labels.shape)).astype(np.float32)[None]
        made.append(Case(f"c{i}", image, labels, None, None, Path(f"c{i}")))
    return made


def training(ndim=2, *, augmentation=None, net=None, **given):
    net = net or {"widths": (4, 8)}
    architecture = Architecture(ndim=ndim, **net)
    settings = {"steps": 20, "batch": 2, "learning_rate": 1e-2, "device": "cpu"} | given
    flat = {"architecture": architecture.to_dict(), "patch": PATCH[ndim], **settings}
    plan = Plan(**upgrade_plan_1(flat))
    sampler = Sampler(
        cases(ndim),
        plan.patches.size,
        plan.patches.size,
        plan.patches.batch,
        augmentation or Augmentation.none(),
        plan.budget.seed,
    )
    return Training(plan, sampler)


def take_steps(run, n):
    for _ in range(n):
        run.take_step()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
