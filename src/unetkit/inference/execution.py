"""How a model is run: memory, engine, device, test-time averaging, and the level of a pruned UNet++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..processors import DEVICES, UNTRIED_DEVICES, check_device

__all__ = ["Engine", "Execution"]

Engine = Literal["auto", "torch", "compiled", "openvino", "onnxruntime", "bfloat16", "int8"]
_ON_CUDA = ("auto", "torch", "compiled")
_ON_OTHERS = ("auto", "torch")


@dataclass(frozen=True)
class Execution:
    """How a model is run; the masks are the same but for rounding, except with `tta`, `level`, `skip_empty` and int8.

    Attributes
    ----------
    memory_bytes : int
        Budget for the net's maps. Larger images are streamed, or run in tiles, that give exactly the same mask.
    engine : str
        What computes the net: "torch"; "compiled", by torch.compile, which takes a minute at first; on a processor
        also "openvino" or "onnxruntime" in float32, "bfloat16" where the processor multiplies it, and "int8", which
        `unetkit export RUN --format int8` has made; "auto" measures them for some seconds.
    device : str
        "cpu", "cuda", or "auto": a CUDA GPU where there is one; "mps" (Apple) and "xpu" (Intel), which are not tried.
    tta : bool
        Test-time averaging: the mean of the class probabilities over all flips and quarter turns, 8 times the work
        in 2D, or over the flips that the model was trained with: often a little better. The image is held in memory.
    level : int or None
        Of a UNet++ with a head on every depth: compute only the nodes that the head of this level needs, 1 (fastest)
        to its depth.
    skip_empty : bool
        Of image files: pass over blocks whose pixels have one value, such as the glass around a slide, or the zeros
        around a scan. They are background, or no data in a map.

    Raises
    ------
    ValueError
        If a value is not possible.
    """

    memory_bytes: int = 2 * 2**30
    engine: Engine = "torch"
    device: str = "auto"
    tta: bool = False
    level: int | None = None
    skip_empty: bool = False

    def __post_init__(self) -> None:
        if self.memory_bytes <= 0:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; expected more than 0")
        if self.engine not in get_args(Engine):
            raise ValueError(f"engine is {self.engine!r}; expected one of {', '.join(get_args(Engine))}")
        if self.device not in ("auto", *DEVICES):
            raise ValueError(f"device is {self.device!r}; expected auto, {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
        if self.device == "cuda" and self.engine not in _ON_CUDA:
            raise ValueError(f"engine {self.engine} computes on the processor: use device cpu, or engine torch")
        if self.device in UNTRIED_DEVICES and self.engine not in _ON_OTHERS:
            raise ValueError(f"engine {self.engine} does not compute on {self.device}: use engine torch")
        if self.level is not None and self.level < 1:
            raise ValueError(f"level is {self.level}; expected 1 (fastest) to the depth of the UNet++")

    def find_device(self) -> str:
        """The device to compute on: "cpu", "cuda", "mps" or "xpu".

        Raises
        ------
        ValueError
            If one is asked for by name, and torch finds none.
        """
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() and self.engine in _ON_CUDA else "cpu"
        check_device(self.device)
        return self.device
