"""The training loop: straight, resumable at any moment, and the same again from the same seed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.dataset import Case
from ..data.planes import by_planes
from ..inference.prepare import prepare
from ..inference.runner import run
from ..inference.tiling import plan_tiles
from ..metrics.pixels import confusion
from ..nets.architecture import Architecture
from ..nets.build import build
from ..nets.net import Net
from ..nets.pretrained import load_encoder
from ..nets.transfer import copy_weights
from .checkpoint import flatten_optimiser, restore_optimiser
from .deep_supervision import Supervised
from .distributed import rank, shard, world_size, wrap_ddp
from .plan.plan import Plan, augmentation_of
from .sampler import Batch, Sampler

_VALIDATION_MEMORY = 2 * 2**30
_REESTIMATION_BATCHES = 20
_COMPILE_FROM_S = 900.0  # compiling costs about a minute and gains about a tenth on a CPU: not for short trainings
_DIVERGED_AFTER = 20  # losses in a row that are not finite
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass(frozen=True)
class Score:
    """A validation: Dice per foreground class, pooled over all validation pixels, and the share of wrong pixels."""

    dice: tuple[float, ...]
    pixel_error: float
    time_s: float

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the foreground classes that occur; 0.0 where none does."""
        known = [d for d in self.dice if not math.isnan(d)]
        return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True)
class Part:
    """What the last step did to a part of a net.

    Attributes
    ----------
    gradient : float
        Norm of the loss's gradient by its weights, before clipping.
    weight : float
        Norm of its weights.
    update : float
        Norm of what the step took from the weights.
    """

    gradient: float
    weight: float
    update: float

    @property
    def ratio(self) -> float:
        """The update as a share of the weights; nan where all weights are 0."""
        return self.update / self.weight if self.weight else math.nan


@dataclass
class Training:
    """Everything that changes while a net is trained.

    Attributes
    ----------
    net : Net
        The net that takes the steps.
    supervised : Supervised
        That net with the heads that are only there to train it.
    averaged : Net
        Its exponential moving average, which is what is validated, saved and used.
    optimiser : AdamW
    step : int
        Steps taken.
    elapsed_s : float
        Seconds spent, over all interruptions.
    best : float
        Best validation Dice so far, -1 before the first.
    losses : list of float
        Of every step; the report draws them.
    """

    plan: Plan
    sampler: Sampler
    net: Net = field(init=False)
    supervised: Supervised = field(init=False)
    averaged: Net = field(init=False)
    optimiser: torch.optim.AdamW = field(init=False)
    step: int = 0
    elapsed_s: float = 0.0
    best: float = -1.0
    losses: list[float] = field(default_factory=list)
    gradient_norm: float = 0.0
    forward: Callable[[Tensor], list[Tensor]] = field(init=False)
    _not_finite: int = 0

    def __post_init__(self) -> None:
        plan, device = self.plan, self.plan.device.name
        torch.manual_seed(plan.budget.seed)
        net = build(Architecture(**plan.net.architecture))
        net.read()  # before the copy
        self.net = net.to(device).to(memory_format=_CHANNELS_LAST[net.ndim])  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.net).requires_grad_(False)
        self.supervised = Supervised(self.net, deep=plan.net.deep_supervision, loss=plan.optim.loss).to(device)
        self.forward = wrap_ddp(self.supervised)
        decayed = [p for p in self.supervised.parameters() if p.ndim > 1]
        plain = [p for p in self.supervised.parameters() if p.ndim <= 1]  # biases and norms are not decayed
        groups = [{"params": decayed, "weight_decay": plan.optim.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.optim.learning_rate)

    def load_encoder(self, weights: str) -> None:
        """Start the encoder from pretrained weights, as `nets.pretrained.load_encoder` takes them; before all steps."""
        load_encoder(self.net, weights)
        self.averaged.load_state_dict(self.net.state_dict())

    def start_from(self, net: Net) -> list[str]:
        """Start from another net's weights, as `nets.transfer.copy_weights` does; before all steps."""
        lines = copy_weights(net, self.net)
        self.averaged.load_state_dict(self.net.state_dict())
        return lines

    def fraction(self) -> float:
        """Share of the budget used, 0 to 1."""
        budget = self.plan.budget
        used = self.step / budget.steps if budget.steps else self.elapsed_s / (budget.time_s or 1)
        return min(used, 1.0)

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine from the full rate down to the plan's share of it."""
        f, optim = self.fraction(), self.plan.optim
        peak, warmup, least = optim.learning_rate, optim.warmup_fraction, optim.final_lr_fraction
        if f < warmup:
            return peak * (f / warmup + 0.01)
        cosine = 0.5 * (1 + math.cos(math.pi * (f - warmup) / (1 - warmup)))
        return peak * (least + (1 - least) * cosine)

    def take_step(self) -> float:
        """Draw a batch, take a step, and return the loss."""
        plan, device, batch = self.plan, self.plan.device.name, shard(self.sampler.draw(self.step))
        # Drop-out: the same again after a resume.
        torch.manual_seed(plan.budget.seed * 1_000_003 + self.step + 7919 * rank())
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.supervised.train()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=plan.device.precision == "bfloat16"):
            logits = self.forward(self._input(batch))
        labels = batch.labels.to(device)
        weights = None if batch.weights is None else batch.weights.to(device)
        loss = self.supervised.loss(logits, labels, weights=weights, check=False)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.supervised.parameters(), plan.optim.clip_norm)
        value, self.gradient_norm = float(loss.detach()), float(norm)
        is_finite = math.isfinite(value) and math.isfinite(self.gradient_norm)
        self._guard(is_finite)
        if is_finite:
            self.optimiser.step()
        self.step += 1
        self._average()
        self.losses.append(value)
        return value

    def _input(self, batch: Batch) -> Tensor:
        return batch.images.to(self.plan.device.name).contiguous(memory_format=_CHANNELS_LAST[self.net.ndim])

    def _guard(self, is_finite: bool) -> None:
        self._not_finite = 0 if is_finite else self._not_finite + 1
        if self._not_finite >= _DIVERGED_AFTER:
            raise RuntimeError(
                f"training diverged: the loss or its gradient was not finite {_DIVERGED_AFTER} steps in a row up to "
                f"step {self.step}; try a smaller learning rate than {self.plan.optim.learning_rate:g}"
            )

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the net; its memory is a fixed share of the steps taken so far."""
        weight = 1 / (1 + self.plan.optim.ema_share * self.step)
        pairs = zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True)
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)

    @torch.no_grad()
    def parts(self) -> dict[str, Part]:
        """What the last step did to each part of the net, worked out from what it left behind; nothing is changed.

        A part is what a name says up to its first number: "encoder.blocks.0", "decoder.1", "nodes.0_1", "heads.0".
        Without a step since the start or since a resume there are no gradients, and {} is returned.
        """
        unclipped = max(1.0, (self.gradient_norm + 1e-6) / self.plan.optim.clip_norm)  # as clip_grad_norm_ divided
        names = {parameter: _part(name) for name, parameter in self.net.named_parameters()}
        squares: dict[str, list[float]] = {}
        for group in self.optimiser.param_groups:
            for p in group["params"]:
                state = self.optimiser.state.get(p)  # not by [p], which would make an entry
                if p in names and p.grad is not None and state:
                    norms = p.grad.norm() * unclipped, p.norm(), adamw_update(p, group, state).norm()
                    sums = squares.setdefault(names[p], [0.0] * 3)
                    squares[names[p]] = [a + float(b) ** 2 for a, b in zip(sums, norms, strict=True)]
        order = dict.fromkeys(name for name in names.values() if name in squares)
        return {name: Part(*map(math.sqrt, squares[name])) for name in order}

    def update_batch_norm(self) -> None:
        """Take batch-norm statistics anew for the averaged weights; averaged statistics belong to no net."""
        norms = [m for m in self.averaged.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        self.averaged.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
            norm.train()
        with torch.no_grad():
            for i in range(_REESTIMATION_BATCHES):
                self.averaged.body(self._input(self.sampler.draw(self.step + i)))
        self.averaged.eval()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that a resumed training needs."""
        flat = {f"{part}.{name}": t for part, m in self._modules() for name, t in m.state_dict().items()}
        return flat | flatten_optimiser(self.optimiser)

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [("net", self.net), ("averaged", self.averaged), ("heads", self.supervised.heads)]

    def numbers(self) -> dict[str, Any]:
        """Every number that a resumed training needs."""
        return {"step": self.step, "elapsed_s": self.elapsed_s, "best": self.best, "losses": self.losses}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name, part in self._modules():
            prefix = f"{name}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        restore_optimiser(self.optimiser, tensors)
        self.step, self.elapsed_s = numbers["step"], numbers["elapsed_s"]
        self.best, self.losses = numbers["best"], list(numbers["losses"])


def training_of(plan: Plan, cases: Sequence[Case]) -> Training:
    """The training that a plan describes, on these cases, before its first step."""
    settings, patches = augmentation_of(plan), plan.patches
    sampler = Sampler(
        cases, patches.size, patches.size, patches.batch, settings, plan.budget.seed, planes=plan.data.planes
    )
    training = Training(plan, sampler)
    sampler.target = training.net.geometry.output_size(patches.size)
    return training


def _part(name: str) -> str:
    """A parameter's name up to its first number; without one, that of its module."""
    words = name.split(".")
    numbers = (i for i, word in enumerate(words) if word.replace("_", "").isdigit())
    return ".".join(words[: next(numbers, len(words) - 2) + 1])


def adamw_update(weights: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    """What AdamW's last step took from some weights: theirs before it, minus theirs now.

    Of Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101, algorithm 2, lines 9 to 12. Taking the weights now from
    those before would leave few digits of a small difference; the moments that the step left behind give all of them.

    Parameters
    ----------
    weights : Tensor
        As they are after the step.
    group, state : dict
        Of `torch.optim.AdamW`: the weights' group, with the rate of that step, and their own state.

    Returns
    -------
    Tensor of the weights' shape
    """
    (beta1, beta2), step = group["betas"], float(state["step"])
    mean, square = state["exp_avg"] / (1 - beta1**step), state["exp_avg_sq"] / (1 - beta2**step)
    moved: Tensor = group["lr"] * mean / (square.sqrt() + group["eps"])
    decay = group["lr"] * group["weight_decay"]
    return moved + decay * (weights + moved) / (1 - decay)  # decay is of the weights before the step


def validate(net: Net, cases: Sequence[Case], *, device: str, planes: int | None = None) -> Score:
    """Predict every validation image whole or in exact tiles, and score all pixels together; objects as foreground."""
    start = time.perf_counter()
    ready = prepare(net, device=device)
    has_distance = cases[0].ids is not None
    n = 2 if has_distance else net.out_channels
    total = np.zeros((n, n), dtype=np.int64)
    for case in cases:
        predicted = predict_classes(ready, case.image, planes=planes, has_distance=has_distance)
        total += confusion(predicted, case.classes, n)
    return score_of(total, time.perf_counter() - start)


def score_of(total: np.ndarray, time_s: float) -> Score:
    """The score of a confusion matrix (K, K), pixels; rows are the truth. Classes that do not occur are nan."""
    hits, truth, predicted = np.diag(total), total.sum(1), total.sum(0)
    with np.errstate(invalid="ignore"):
        dice = 2 * hits / (truth + predicted)
    error = 1 - hits.sum() / max(total.sum(), 1)
    return Score(tuple(float(d) for d in dice[1:]), float(error), time_s)


def predict_classes(
    net: Net, image: np.ndarray, *, planes: int | None = None, has_distance: bool = False
) -> np.ndarray:
    """Class indices (*spatial), uint8, of one standardised image (C, *spatial).

    Parameters
    ----------
    net : Net
    image : ndarray of shape (C, *spatial), float32
    planes : int, optional
        The image is a volume and the net a 2D one, which is given so many adjacent planes at a time.
    has_distance : bool
        The classes beside background are distances inside objects: together they are the foreground, 1.
    """
    tiling = plan_tiles(net, image.shape[-net.ndim :], memory_bytes=_VALIDATION_MEMORY)

    def classes(part: np.ndarray, index: int = 0) -> np.ndarray:
        return run(net, torch.from_numpy(part), tiling, finish=finish).numpy()

    finish = _foreground if has_distance else _most_likely
    return classes(image) if planes is None else by_planes(image, planes, classes)


def _most_likely(logits: Tensor) -> Tensor:
    return logits.argmax(0).to(torch.uint8)


def _foreground(logits: Tensor) -> Tensor:
    """1 where background is less likely than all distances together."""
    return (logits[0] < logits[1:].logsumexp(0)).to(torch.uint8)


def choose_forward(training: Training) -> str:
    """Compile the net if that pays, measured on real training steps; returns a sentence on what was chosen.

    Training by `steps` is to be the same again from the same seed, so there nothing is
    chosen by the clock: it is compiled only where the plan says so.
    """
    plan = training.plan
    if world_size() > 1:
        return f"not compiled: {world_size()} processes train as one"
    time_s = plan.budget.time_s
    worthwhile = time_s is not None and time_s - training.elapsed_s >= _COMPILE_FROM_S
    if plan.device.compile == "no" or (plan.device.compile == "auto" and not worthwhile):
        return "not compiled"
    eager = training.forward
    before = None if plan.device.compile == "yes" else time_steps(training)
    try:
        training.forward = torch.compile(training.supervised.forward, dynamic=False)
        training.take_step()
    except Exception as error:  # a missing compiler, an unsupported platform: training goes on without
        training.forward = eager
        return f"not compiled: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
    if before is None:
        return "compiled, as asked"
    after = time_steps(training)
    if after > before:
        training.forward = eager
    verdict = "compiled" if after <= before else "not compiled"
    return f"{verdict}: {after * 1e3:.0f} ms per step compiled, {before * 1e3:.0f} ms not"


def time_steps(training: Training, n: int = 4) -> float:
    """Seconds of a step: the median of all but the first of n, which are taken."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        training.take_step()
        times.append(time.perf_counter() - start)
    return median(times[1:])
