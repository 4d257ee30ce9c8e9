"""A training as a user asks for it: data, a budget, and settings or a whole plan; from these its data set and plan."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..allocator import return_freed_memory
from ..data.dataset import Dataset, load_dataset
from ..data.pairs import find_pairs
from ..data.store import ArrayStore
from ..model.files import read_model
from ..nets.pretrained import check_encoder
from ..progress import Progress
from .distributed import broadcast, world_size
from .plan.device import use_threads
from .plan.files import read_plan, read_plan_file
from .plan.plan import DevicePlan, Plan
from .plan.reuse import check_resumable, reuse_plan, with_longer_budget
from .plan.rules import make_plan
from .plan.settings import BudgetSettings, DataSettings, PlanSettings, check_settings, options_of, read_options_of

__all__ = ["TrainingRequest"]

_TELL_EVERY_S = 10.0


@dataclass(frozen=True)
class TrainingRequest:
    """The parameters of `train` that its plan depends on."""

    images: Path | str
    masks: Path | str | None
    time_s: float | None = None
    steps: int | None = None
    settings: PlanSettings | Plan | Path | str | None = None

    @cached_property
    def whole_plan(self) -> Plan | None:
        """The plan, where a whole one takes the place of settings."""
        if isinstance(self.settings, Path | str):
            return read_plan_file(Path(self.settings))
        return self.settings if isinstance(self.settings, Plan) else None

    @cached_property
    def budget(self) -> BudgetSettings:
        """Time, steps and seed, as far as they are set: by parameters, or else in the settings."""
        budget: BudgetSettings = {}
        if isinstance(self.settings, Mapping):
            budget = check_settings({"budget": self.settings.get("budget", {})}).get("budget", {})
        if self.time_s is not None:
            budget = {**budget, "time_s": self.time_s}
        return budget if self.steps is None else {**budget, "steps": self.steps}

    @cached_property
    def plan_settings(self) -> PlanSettings:
        """The settings beside the budget, checked."""
        settings = self.settings if isinstance(self.settings, Mapping) else {}
        return check_settings({group: values for group, values in settings.items() if group != "budget"})

    def for_fold(self, k: int, n: int) -> TrainingRequest:
        """The same for fold `k` of `n`: with a share of the budget, but at least one step."""
        settings: PlanSettings | Plan
        budget = self.budget
        if plan := self.whole_plan:
            settings = plan.model_copy(update={"data": plan.data.model_copy(update={"fold": (k, n)})})
            if not budget.keys() & {"time_s", "steps"}:
                budget = {"time_s": plan.budget.time_s, "steps": plan.budget.steps}
        else:
            data: DataSettings = {**self.plan_settings.get("data", {}), "fold": (k, n)}
            settings = {**self.plan_settings, "data": data}
            if "seed" in budget:
                settings["budget"] = {"seed": budget["seed"]}
        time_s, steps = budget.get("time_s"), budget.get("steps")
        return replace(self, settings=settings, time_s=time_s and time_s / n, steps=steps and max(steps // n, 1))

    @cached_property
    def memory_bytes(self) -> int:
        """For images and masks, and the work on them: as set here or in a whole plan, else half of the machine's."""
        plan = self.whole_plan
        device = self.plan_settings.get("device", {}) if plan is None else {}
        return (plan.device if plan else DevicePlan(memory=device.get("memory", ""))).memory_bytes // world_size()

    def load(self, saved: Plan | None, cache: Path, progress: Progress) -> Dataset:
        """Read the images and masks, as a saved plan, the whole plan or the settings say.

        Those that the memory does not hold are read from their files, or kept in the folder `cache`.

        Raises
        ------
        ValueError
            If files cannot be used (all are named).
        ImportError
            If `net.encoder` is set and timm is not installed.
        """
        if known := saved or self.whole_plan:
            encoder, weights, labels = known.net.architecture.get("encoder"), None, known.data.label_options
            border_weight, resample = known.patches.border_weight, known.data.resample
            options = known.data.read_options
        else:
            data, net = self.plan_settings.get("data", {}), self.plan_settings.get("net", {})
            encoder, weights, labels = net.get("encoder"), net.get("encoder_weights"), options_of(data)
            border_weight = self.plan_settings.get("patches", {}).get("border_weight", False)
            resample, options = data.get("resample", True), read_options_of(data)
        check_encoder(encoder, weights)
        pairs = find_pairs(self.images, self.masks, axes=options.axes)
        store = ArrayStore(self.memory_bytes, cache)
        dataset = load_dataset(
            pairs,
            labels=labels,
            options=options,
            border_weight=border_weight,
            objects=not border_weight,
            resample=resample,
            store=store,
            progress=_Reading(progress),
        )
        return_freed_memory()  # of decoding and of distances: the steps need other sizes
        progress.update(message=store.describe())
        return dataset

    def plan(self, saved: Plan | None, dataset: Dataset, progress: Progress) -> Plan:
        """The plan of this training: the saved one of a run that is resumed, the whole one, or one by the rules.

        Raises
        ------
        ValueError
            If values do not fit, or the run that is resumed was planned otherwise.
        """
        # Whole paths: the run may be used from another folder.
        images = str(Path(self.images).absolute())
        masks = None if self.masks is None else str(Path(self.masks).absolute())
        time_s, steps, seed = self.budget.get("time_s"), self.budget.get("steps"), self.budget.get("seed")
        if saved:
            saved, longer = with_longer_budget(saved, time_s=time_s, steps=steps)
            if longer:
                progress.update(message=longer)
            check_resumable(saved, dataset, time_s=time_s, steps=steps, seed=seed, settings=self.plan_settings)
            if message := use_threads(saved.budget.threads):
                progress.update(message=message)
            return saved
        if self.whole_plan:
            plan = reuse_plan(self.whole_plan, dataset, images=images, masks=masks, time_s=time_s, steps=steps)
        else:
            source = self.plan_settings.get("net", {}).get("init_from")
            card = read_model(source)[1] if source else None
            plan = make_plan(
                dataset,
                images=images,
                masks=masks,
                time_s=time_s,
                steps=steps,
                seed=seed or 0,
                settings=self.plan_settings,
                init_from=card,
            )
        return read_plan(broadcast(plan.model_dump_json())) if world_size() > 1 else plan


@dataclass
class _Reading:
    """Tells that all files are read, and at times how many; their number is no share of the training."""

    progress: Progress
    _next_s: float = field(default_factory=lambda: time.monotonic() + _TELL_EVERY_S)

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        if total and ((done == total and not message) or time.monotonic() > self._next_s):
            self._next_s = time.monotonic() + _TELL_EVERY_S
            self.progress.update(message=f"{message or 'reading files'}: {done:.0f} of {total:.0f}")
