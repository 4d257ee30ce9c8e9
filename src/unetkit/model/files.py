"""Model files and ensembles: safetensors and JSON, never pickle; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..io.atomic import write_bytes, write_text
from ..json_text import parse_json
from ..nets.architecture import architecture_of
from ..nets.build import build
from ..nets.net import Net
from .card import Card, parse_card
from .run_paths import RunPaths

__all__ = [
    "model_files",
    "read_members",
    "read_model",
    "read_tensors",
    "save_ensemble",
    "save_model",
    "weights_hash",
    "write_tensors",
]

_KEY = "unetkit"
# First bytes of what torch.save writes: a zip archive, or pickle protocols 2 to 5.
_PICKLED = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def save_model(path: Path | str, net: Net, card: Card) -> None:
    """Write weights and card to one `.safetensors` file, all or nothing."""
    write_tensors(Path(path), net.state_dict(), card.model_dump_json())


def read_model(path: Path | str) -> tuple[Net, Card]:
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
    weights, fields = read_tensors(path)
    try:
        card = parse_card(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        architecture = architecture_of(card.architecture)
        with torch.device("meta"):  # the sizes alone: a damaged card may ask for more than there is memory for
            build(architecture).load_state_dict(weights, assign=True)
        net = build(architecture)
        net.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{path}: its weights do not belong to the net that its card describes: {first}") from None
    return net.eval(), card


def model_files(path: Path) -> list[Path]:
    """List the files of a model: itself, that of a run folder, or those of all folds.

    Raises
    ------
    FileNotFoundError
        If a folder holds none.
    """
    if not path.is_dir():
        return [path]
    paths = RunPaths(path)
    if paths.ensemble.is_file():
        return [RunPaths(path / member).model for member in _members(paths.ensemble)]
    if not paths.model.is_file():
        raise FileNotFoundError(f"{path}: holds no {paths.model.name}; has its training been started?")
    return [paths.model]


def _members(ensemble: Path) -> list[str]:
    """The folders of an ensemble's runs, all of them below its own."""
    try:
        members = parse_json(ensemble.read_bytes())["members"]
        folders = [(ensemble.parent / member).resolve() for member in members]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{ensemble}: is damaged ({type(error).__name__}: {error})") from None
    if not folders or not all(folder.is_relative_to(ensemble.parent.resolve()) for folder in folders):
        raise ValueError(f"{ensemble}: names the members {members}: expected folders below its own")
    return [str(member) for member in members]


def read_members(path: Path | str) -> tuple[list[Net], Card]:
    """Read a model as `read_model` does, or the nets of all folds with the card that they share."""
    path = Path(path)
    models = [read_model(file) for file in model_files(path)]
    card = models[0][1]
    if len(models) > 1:
        card = parse_card(parse_json(RunPaths(path).ensemble.read_text())["card"])
    return [net for net, _ in models], card


def save_ensemble(folder: Path, members: Sequence[str], card: Card) -> None:
    """Make one model of the runs in some folders of `folder`."""
    text = json.dumps({"members": list(members), "card": card.model_dump(mode="json")}, indent=2)
    write_text(RunPaths(folder).ensemble, text)


def weights_hash(model: Path | str) -> str:
    """SHA-256 of a model file, of a run's model.safetensors, or of those of all folds together."""
    digests = []
    for path in model_files(Path(model)):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], json_text: str) -> None:
    """Write tensors, and a JSON object about them, to a `.safetensors` file, all or nothing."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(flat, metadata={_KEY: json_text}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the JSON object of `write_tensors`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, pickled, or not written by this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such model file")
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(_KEY, "")
    except SafetensorError as error:
        # Checked only after the failure: a safetensors file begins with a length, which may happen to be these bytes.
        with path.open("rb") as raw:
            head = raw.read(2)
        if head in _PICKLED:
            raise ValueError(
                f"{path}: is pickled (as torch.save writes), which can run any code when it is read and is never read "
                "here; train with unetkit, or save the weights as safetensors"
            ) from None
        size = path.stat().st_size
        raise ValueError(f"{path}: is truncated or not a safetensors file ({size} bytes; {error})") from None
    try:
        fields = parse_json(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: holds {len(tensors)} tensors but no unetkit card: it was written by other software")
    return tensors, fields
