"""Everything that changes while a net is trained: steps, resumable at any moment and the same from the same seed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn

from ..data.case import Case
from ..data.dataset import Dataset
from ..inference.execution import Execution
from ..inference.predictor import Predictor
from ..inference.prepare import CHANNELS_LAST
from ..model.card import Card
from ..nets.architecture import Architecture
from ..nets.build import build
from ..nets.net import Net
from ..nets.pretrained import load_encoder
from ..nets.transfer import copy_weights
from ..processors import count_processors
from .checkpoint import Numbers, flatten_optimiser, restore_optimiser
from .deep_supervision import Supervised
from .distributed import rank, shard, world_size, wrap_ddp
from .drawing import DrawnAhead
from .plan.plan import Plan, augmentation_of
from .sampler import Batch, Sampler
from .thresholds import usual_thresholds

_BATCH_NORM_BATCHES = 20
_MOST_TIMING_S = 10.0  # by a plan of huge steps the first one, which takes a little longer, says enough
_COMPILE_FROM_S = 900.0  # compiling costs about a minute and gains about a tenth on a CPU: not for short trainings
_MOST_DRAWING = 4  # threads that draw batches for a GPU
_DIVERGED_AFTER = 20  # losses in a row that are not finite


@dataclass
class Training:
    """A net in training, and everything that a resume needs.

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
    drawn : DrawnAhead
        The batches of the sampler, drawn in threads while a step is taken.
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
    drawn: DrawnAhead[Batch] = field(init=False)
    _not_finite: int = 0

    def __post_init__(self) -> None:
        plan, device = self.plan, self.plan.device.name
        sampler = self.sampler
        is_free = device != "cpu"  # else threads would take the processors from the steps
        threads = max(min(count_processors() // world_size() - 1, _MOST_DRAWING), 1) if is_free else 1
        self.drawn = DrawnAhead(lambda step: sampler.draw(step), threads)
        torch.manual_seed(plan.budget.seed)
        net = build(Architecture(**plan.net.architecture))
        net.read()  # before the copy
        self.net = net.to(device).to(memory_format=CHANNELS_LAST[net.ndim])  # type: ignore[call-overload]
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
        """Share of the budget that is used, 0 to 1."""
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
        plan, device, batch = self.plan, self.plan.device.name, shard(self.drawn(self.step))
        # Drop-out: the same again after a resume.
        torch.manual_seed((plan.budget.seed * 1_000_003 + self.step + 7919 * rank()) % 2**63)
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
        return batch.images.to(self.plan.device.name).contiguous(memory_format=CHANNELS_LAST[self.net.ndim])

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

    def predictor(self, card: Card) -> Predictor:
        """The averaged net, ready to predict on the training's device; later steps do not change it."""
        return Predictor(self.averaged, card, Execution(device=self.plan.device.name))

    def update_batch_norm(self) -> None:
        """Compute batch-norm statistics of the averaged weights; averaged statistics belong to no net."""
        norms = [m for m in self.averaged.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        self.averaged.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
            norm.train()
        with torch.no_grad():
            for i in range(_BATCH_NORM_BATCHES):
                self.averaged.body(self._input(self.drawn(self.step + i)))
        self.averaged.eval()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that a resumed training needs."""
        flat = {f"{part}.{name}": t for part, m in self._modules() for name, t in m.state_dict().items()}
        return flat | flatten_optimiser(self.optimiser)

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [("net", self.net), ("averaged", self.averaged), ("heads", self.supervised.heads)]

    def numbers(self) -> Numbers:
        """Every number that a resumed training needs."""
        return {"step": self.step, "elapsed_s": self.elapsed_s, "best": self.best, "losses": self.losses}

    def restore(self, tensors: dict[str, Tensor], numbers: Numbers) -> None:
        """Continue from a saved state.

        Raises
        ------
        ValueError
            If its tensors are those of another net.
        """
        try:
            for name, part in self._modules():
                prefix = f"{name}."
                part.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            restore_optimiser(self.optimiser, tensors)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"its tensors do not belong to the net of the plan: {reason}") from None
        self.step, self.elapsed_s = numbers["step"], numbers["elapsed_s"]
        self.best, self.losses = numbers["best"], list(numbers["losses"])


def training_of(plan: Plan, cases: Sequence[Case]) -> Training:
    """The training that a plan describes, on these cases, before its first step."""
    augmentation, patches = augmentation_of(plan), plan.patches
    shares = [case.n_labelled for case in cases] if patches.draw == "labelled" else ()
    sampler = Sampler(
        cases,
        patches.size,
        patches.size,
        patches.batch,
        augmentation,
        plan.budget.seed,
        planes=plan.data.planes,
        shares=shares,
        device=_augmenting_device(plan.device.name),
    )
    training = Training(plan, sampler)
    sampler.target = training.net.geometry.output_size(patches.size)
    return training


def _augmenting_device(name: str) -> torch.device:
    """Where patches are augmented: on the GPU itself, but for Apple's, which lacks sampling by reflection.

    By its number, since the thread that draws does not have this one's.
    """
    return torch.empty(0, device=name if name in ("cuda", "xpu") else "cpu").device


def card_of(plan: Plan, dataset: Dataset) -> Card:
    """The card of a net that is trained by a plan on these data, before any validation."""
    return Card(
        architecture=plan.net.architecture,
        classes=dataset.class_names,
        labels=dataset.kind,
        spacing=list(dataset.spacing),
        unit=dataset.unit,
        planes=plan.data.planes,
        axes=plan.data.axes,
        channels=list(plan.data.channels),
        augmentation=plan.patches.augmentation,
        flip_axes=list(plan.patches.flip_axes),
        decoding=usual_thresholds(dataset.cases) if dataset.kind.has_distance else None,
        resample=plan.data.resample and dataset.unit != "px",
    )


def choose_forward(training: Training) -> str:
    """Compile the net if that pays, measured on real training steps; returns a sentence for the user.

    A training by `steps` gives the same net from the same seed, so nothing is chosen by the clock there: it is
    compiled only where the plan says so.
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
    """Take up to `n` steps; the median seconds of one, without the first unless it took long by itself."""
    times: list[float] = []
    while len(times) < n and sum(times) < _MOST_TIMING_S:
        start = time.perf_counter()
        training.take_step()
        times.append(time.perf_counter() - start)
    return median(times[1:] or times)
