"""Model files and run folders: safetensors and JSON, never pickle; written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .. import __version__
from ..io.atomic import write_bytes, write_text
from ..labels.instances import InstanceThresholds
from ..labels.kind import LabelKind
from ..nets.architecture import Architecture
from ..nets.build import build
from ..nets.net import Net

FORMAT = 1  # raised when the meaning of a card changes; older ones are then migrated by a small named function
_KEY = "unetkit"
# First bytes of what torch.save writes: a zip archive, or pickle protocols 2 to 5.
_PICKLED = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
MODEL, ENSEMBLE = "model.safetensors", "ensemble.json"


class Card(BaseModel):
    """What a model file says about its weights.

    Attributes
    ----------
    format : int
        Version of this card.
    version : str
        Version of the package that wrote it.
    architecture : dict
        As `Architecture.to_dict`.
    classes : list of str
        Names, background first.
    labels : LabelKind
        The values that masks hold for these classes, in and out.
    intensity : str
        How an image is normalised before it enters the net: "zscore", each channel of each image by its own mean
        and standard deviation.
    spacing : list of float, unit : str
        Typical pixel size of the training images, per axis.
    score : float or None
        Validation Dice, mean over the foreground classes.
    planes : int or None
        The net is a 2D one for volumes: it is given so many adjacent planes as channels, those of
        channel 0 first, and predicts the middle one. None where images have the net's own axes.
    augmentation : str
        "full", "oriented" (it has seen flips along `flip` alone) or "none".
    flip : list of bool
        Axes of the net along which an oriented one has seen flips; empty for none.
    decoding : Decoding or None
        How the maps of a net for objects become objects.
    resample : bool
        Whether images of another pixel size are brought to `spacing` first.
    temperature : float
        By which logits are divided to make probabilities that are true to frequency (`training.calibration`).
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    version: str = __version__
    architecture: dict[str, Any]
    classes: list[str]
    labels: LabelKind
    intensity: str = "zscore"
    spacing: list[float] = []
    unit: str = "px"
    score: float | None = None
    planes: int | None = None
    augmentation: str = "full"
    flip: list[bool] = []
    decoding: InstanceThresholds | None = None
    resample: bool = False
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @property
    def scored_classes(self) -> list[str]:
        """Names of the classes that predictions are scored by: depths inside of objects are one foreground."""
        return ["background", "foreground"] if self.labels.has_distance else self.classes

    @property
    def flips(self) -> list[bool] | None:
        """Axes of the net along which it has seen flips; None where it has seen quarter turns as well."""
        return None if self.augmentation == "full" else self.flip or [False] * self.architecture.get("ndim", 2)

    @model_validator(mode="before")
    @classmethod
    def _without_seed(cls, values: Any) -> Any:
        """Cards of format 1 once had a fixed depth for seeds, in place of the valley between peaks: that is usual."""
        decoding = values.get("decoding") if isinstance(values, dict) else None
        if isinstance(decoding, dict) and "seed" in decoding:
            values = values | {"decoding": {name: value for name, value in decoding.items() if name != "seed"}}
        return values

    @model_validator(mode="after")
    def _check_planes(self) -> Card:
        ndim, channels = self.architecture.get("ndim", 2), self.architecture.get("in_channels", 1)
        if self.planes is not None and (ndim != 2 or self.planes < 1 or self.planes % 2 == 0 or channels % self.planes):
            raise ValueError(f"planes is {self.planes} for a {ndim}D net of {channels} input channels")
        return self


def save_model(path: Path | str, net: Net, card: Card) -> None:
    """Write weights and card to one `.safetensors` file, all or nothing."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    write_bytes(Path(path), save(weights, metadata={_KEY: card.model_dump_json()}))


def load_model(path: Path | str) -> tuple[Net, Card]:
    """Read a model file, or the model of a run folder.

    Returns
    -------
    Net
        In evaluation mode, on the CPU.
    Card

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the run folder has no model yet.
    ValueError
        If the file is truncated, pickled, not written by this package, written by a newer
        version, or its weights do not belong to its architecture.
    """
    path, *others = model_files(Path(path))
    if others:
        folder = path.parent
        raise ValueError(f"{folder.parent}: holds the nets of {len(others) + 1} folds: name one, such as {folder}")
    weights, metadata = _read_safetensors(path)
    found = _card_of(path, weights, metadata)
    if found.get("format", 0) > FORMAT:
        raise ValueError(
            f"{path}: written by unetkit {found.get('version')} in format {found['format']}; this is unetkit "
            f"{__version__}, which reads formats up to {FORMAT}: pip install --upgrade unetkit"
        )
    try:
        card = Card.model_validate(found)
        net = build(Architecture(**card.architecture))
        net.load_state_dict(weights)
    except (ValidationError, TypeError, ValueError, RuntimeError) as error:
        first = _first(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise ValueError(f"{path}: its weights do not belong to the net that its card describes: {first}") from None
    return net.eval(), card


def model_files(path: Path) -> list[Path]:
    """The file of a model: itself, that of a run folder, or those of all folds.

    Raises
    ------
    FileNotFoundError
        If a folder holds none.
    """
    if not path.is_dir():
        return [path]
    if (path / ENSEMBLE).is_file():
        members: list[str] = json.loads((path / ENSEMBLE).read_text())["members"]
        return [path / member / MODEL for member in members]
    if not (path / MODEL).is_file():
        raise FileNotFoundError(f"{path}: holds no {MODEL}; has its training been started?")
    return [path / MODEL]


def load_members(path: Path | str) -> tuple[list[Net], Card]:
    """Read a model as `load_model` does, or the nets of all folds with the card that they have together."""
    path = Path(path)
    files = model_files(path)
    found = [load_model(file) for file in files]
    card = found[0][1]
    if len(found) > 1:
        card = Card.model_validate(json.loads((path / ENSEMBLE).read_text())["card"])
    return [net for net, _ in found], card


def save_ensemble(folder: Path, members: Sequence[str], card: Card) -> None:
    """Make one model of the runs in some folders of `folder`."""
    text = json.dumps({"members": list(members), "card": card.model_dump(mode="json")}, indent=2)
    write_text(folder / ENSEMBLE, text)


def _first(error: ValidationError) -> str:
    """The first of pydantic's findings in a line: "classes: Field required"."""
    found = error.errors()[0]
    return ": ".join([*map(str, found["loc"]), found["msg"]])


def save_state(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write the full state of a training, all or nothing."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(flat, metadata={_KEY: json.dumps(dict(numbers))}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote."""
    tensors, metadata = _read_safetensors(path)
    return tensors, _card_of(path, tensors, metadata)


def _card_of(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What this package wrote beside the tensors."""
    try:
        found = json.loads(metadata.get(_KEY, ""))
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds {len(tensors)} tensors but no unetkit card: it was written by other software")
    return found


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such model file")
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        # Looked at only now: a safetensors file begins with a length, which may happen to be the same bytes.
        with path.open("rb") as file:
            head = file.read(2)
        if head in _PICKLED:
            raise ValueError(
                f"{path}: is pickled (as torch.save writes), which can run any code when it is read and is never read "
                "here; train with unetkit, or save the weights as safetensors"
            ) from None
        raise ValueError(
            f"{path}: is truncated or no safetensors file ({path.stat().st_size} bytes; {error})"
        ) from None


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors; `restore_optimiser` puts them back."""
    states = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{key}": value for i, state in states.items() for key, value in state.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `flatten_optimiser` back into a fresh optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".", 2)
            state.setdefault(int(i), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
