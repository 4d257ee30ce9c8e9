"""The plan: every value that a training uses, in groups, with the reasons; made by `rules`, kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...data.case import Case
from ...data.split import EVEN, train_val_split
from ...io.read_options import ReadOptions
from ...labels.options import Ignore, LabelOptions, parse_classes
from ...nets.architecture import architecture_of
from ...processors import byte_count, machine_memory
from ..augment.augment import Augmentation
from .device import Precision

__all__ = [
    "GROUPS",
    "AugmentationKind",
    "BudgetPlan",
    "Compile",
    "DataPlan",
    "DevicePlan",
    "Draw",
    "Loss",
    "NetPlan",
    "OptimPlan",
    "PatchPlan",
    "Plan",
    "augmentation_of",
]

Compile = Literal["auto", "yes", "no"]
Loss = Literal["dice", "focal", "tversky", "generalised", "cldice"]
AugmentationKind = Literal["full", "oriented", "none"]
Draw = Literal["images", "labelled"]
FORMAT = 2


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)  # JSON has neither


class BudgetPlan(_Group):
    """Seconds or steps, one of them."""

    time_s: float | None = Field(default=None, description="Seconds of the training.")
    steps: int | None = Field(default=None, description="Steps of the training: the same again from one seed.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the split, the weights and the patches.")
    threads: int | None = Field(default=None, ge=1, description="Threads on a CPU: other numbers round otherwise.")


class DataPlan(_Group):
    """The images, and their part that a net gets."""

    images: str = Field(default="", description="Folder or table of the images.")
    masks: str | None = Field(default=None, description="Folder of the masks.")
    labels: str = Field(
        default="auto", description="Content of the masks: auto, binary, classes, instances or foreground."
    )
    ignore: Ignore = Field(default="auto", description="Value of the masks that means not labelled, or none.")
    classes: str = Field(default="", description="Values and names of the classes, where stated: 0=background,85=cell.")
    axes: str = Field(default="", description="Axes of files that do not name theirs, in their order: zyxc.")
    channels: tuple[int, ...] = Field(
        default=(), description="Channels to read, from 1 on: 1,2,4. none: all but alpha."
    )
    validation_fraction: float = Field(default=0.2, ge=0, lt=1, description="Share of the images held out; 0: none.")
    fold: tuple[int, int] | None = Field(default=None, description="Of a cross-validation: (fold, number of folds).")
    split_rule: int = Field(default=1, ge=1, le=EVEN, description="How images are held out: 1 was that of old plans.")
    resample: bool = Field(default=True, description="Bring images of other pixel sizes to the median one.")
    spacing: tuple[float, ...] = Field(default=(), description="Voxel size of a 3D net per axis.")
    planes: int | None = Field(
        default=None, description="Adjacent planes of a volume that a 2D net is given; 0: a 3D net."
    )
    n_images: int = Field(default=0, description="Number of images.")

    @property
    def label_options(self) -> LabelOptions:
        """What the plan states of the masks."""
        return LabelOptions(self.labels, self.ignore, parse_classes(self.classes))

    @property
    def read_options(self) -> ReadOptions:
        """What the plan states of the images."""
        return ReadOptions(self.axes, self.channels)

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, fold: tuple[int, int] | None) -> tuple[int, int] | None:
        if fold is not None and not 0 <= fold[0] < fold[1]:
            raise ValueError(f"expected a fold, from 0, and the number of folds, got {fold[0]} of {fold[1]}")
        return fold


class NetPlan(_Group):
    """The net, and the weights that it starts from."""

    name: str = Field(default="unet", description="unet, unet++, or a paper's net, such as ronneberger2015.")
    width_divisor: int | None = Field(default=None, description="Divides the widths of a paper's net.")
    architecture: dict[str, Any] = Field(default_factory=dict, description="Values of `Architecture`.")
    encoder_weights: str | None = Field(
        default=None, description="Of a timm encoder: imagenet, a .safetensors file, or none."
    )
    init_from: str | None = Field(
        default=None, description="Run or model whose net and weights the training starts from."
    )
    deep_supervision: bool = Field(default=False, description="A loss on the coarser decoder maps too.")

    @field_validator("architecture")
    @classmethod
    def _check_architecture(cls, architecture: dict[str, Any]) -> dict[str, Any]:
        if architecture:  # empty before the plan is made
            architecture_of(architecture)
        return architecture


class PatchPlan(_Group):
    """Patches: sizes in pixels, and their augmentation."""

    size: tuple[int, ...] = Field(default=(), description="Pixels per axis: 8x128x128, or 128 for all axes.")
    batch: int = Field(default=4, ge=1, description="Patches per step.")
    draw: Draw = Field(
        default="images", description="images: as many of each image; labelled: in proportion to its labelled pixels."
    )
    augmentation: AugmentationKind = Field(
        default="full", description="full, oriented (turns of at most 30 degrees) or none."
    )
    flip_axes: tuple[bool, ...] = Field(default=(), description="Axes that oriented images may be flipped along.")
    border_weight: bool = Field(
        default=False, description="Weigh pixels between touching objects, as the 2015 paper does."
    )


class OptimPlan(_Group):
    """AdamW, its schedule, and the loss."""

    loss: Loss = Field(default="dice", description="Loss of regions, summed with cross-entropy.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate.")
    final_lr_fraction: float = Field(default=0.01, ge=0, le=1, description="Share of the learning rate at the end.")
    warmup_fraction: float = Field(default=0.03, ge=0, lt=1, description="Share of the budget in which the rate rises.")
    weight_decay: float = Field(default=1e-2, ge=0, description="Decay of the weights, by AdamW.")
    clip_norm: float = Field(default=5.0, gt=0, description="Norm at which gradients are clipped.")
    ema_share: float = Field(default=0.05, ge=0, description="Weights are averaged over about this share of the steps.")


class DevicePlan(_Group):
    """Device and precision."""

    name: str = Field(default="cpu", description="cpu, cuda; mps or xpu, which are not tried.")
    precision: Precision = Field(default="float32", description="float32 or bfloat16, of the convolutions in training.")
    compile: Compile = Field(default="auto", description="torch.compile: auto (measured), yes or no.")
    memory: str = Field(
        default="", description="For images and masks, such as 2GB; the others stay on disk. Empty: half."
    )

    @property
    def memory_bytes(self) -> int:
        """For images and masks, and the work on them: as stated, else half of what the machine has."""
        return byte_count(self.memory) if self.memory else machine_memory() // 2

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, memory: str) -> str:
        if memory:
            byte_count(memory)
        return memory


class Plan(BaseModel):
    """All values of a training. Saved as `plan.json`; times in seconds, sizes in pixels.

    Attributes
    ----------
    format : int
        Of the file; `files.read_plan` upgrades older ones.
    budget, data, net, patches, optim, device
        Groups of values.
    reasons : dict
        Of the derived values: "optim.learning_rate" -> the rule in words, or "set" where the user chose.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    budget: BudgetPlan = BudgetPlan()
    data: DataPlan = DataPlan()
    net: NetPlan = NetPlan()
    patches: PatchPlan = PatchPlan()
    optim: OptimPlan = OptimPlan()
    device: DevicePlan = DevicePlan()
    reasons: dict[str, str] = Field(default_factory=dict)

    def value(self, path: str) -> Any:
        """The value of a dotted path; "net.widths" and the like are those of the architecture."""
        group, _, name = path.partition(".")
        values = dict(getattr(self, group))
        return values[name] if name in values else self.net.architecture.get(name)

    def split(self, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
        """Cases to train on and to validate on, as `train_val_split` draws them."""
        data, seed = self.data, self.budget.seed
        return train_val_split(
            cases, fraction=data.validation_fraction, seed=seed, fold=data.fold, rule=data.split_rule
        )

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows (dotted path, value, reason) for the user."""
        return [(path, _short(self.value(path)), reason) for path, reason in self.reasons.items()]


GROUPS: dict[str, type[_Group]] = {
    "budget": BudgetPlan,
    "data": DataPlan,
    "net": NetPlan,
    "patches": PatchPlan,
    "optim": OptimPlan,
    "device": DevicePlan,
}


def _short(value: Any) -> str:
    if value is None or value in ((), []):
        return "none"
    if isinstance(value, list | tuple):
        is_table = isinstance(value[0], list | tuple)
        return (", " if is_table else " x ").join(_short(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def augmentation_of(plan: Plan) -> Augmentation:
    """The augmentation of a plan: "full", "oriented" (turns of at most 30 degrees) or "none"."""
    if plan.patches.augmentation == "none":
        return Augmentation.none()
    spacing = plan.data.spacing or None
    if plan.patches.augmentation == "full":
        return Augmentation(spacing=spacing)
    degrees = (30.0,) * 3 if plan.net.architecture["ndim"] == 3 else 30.0
    return Augmentation(flip=plan.patches.flip_axes or False, rotation_deg=degrees, spacing=spacing)
