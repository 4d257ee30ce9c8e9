"""A run's net in int8, and what that costs: calibrated on its own training patches, measured on its validation images.

Only whole numbers of 8 bits make a net this fast on a processor, and only a measurement says what it loses by them. So
an int8 model is never kept without its price, and one that loses too much is not kept at all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Case, load_dataset
from ..data.pairs import find_pairs
from ..geometry import Geometry
from ..inference.engines.engine import Engine, with_engine
from ..inference.engines.int8_card import FILE, QuantisationReport, is_current, read_report
from ..inference.engines.openvino import calibrated_model, check_installed, int8_engine, save_openvino
from ..inference.prepare import prepare
from ..io.atomic import write_text
from ..metrics.pixels import confusion
from ..model.files import read_model, weights_hash
from ..model.run_paths import RunPaths
from ..nets.net import Net
from ..training.augment.augment import Augmentation
from ..training.plan.files import read_plan_file
from ..training.plan.plan import Plan
from ..training.sampler import Sampler
from ..training.state import Score, predict_classes, score_of

__all__ = ["ALLOWED_LOSS", "quantise"]

ALLOWED_LOSS = 0.005  # of Dice
PATCHES = 192  # from 100 to 300 the ranges no longer move


def quantise(
    run: Path | str,
    *,
    out: Path | str | None = None,
    allowed_loss: float = ALLOWED_LOSS,
    patches: int = PATCHES,
    observer: Callable[[str], None] | None = None,
) -> QuantisationReport:
    """Make the int8 model of a run, measure what it costs, and keep it if that is little.

    Parameters
    ----------
    run : path
        Run folder; its images are read from where they were.
    out : path, optional
        Folder for model.xml, model.bin and price.json, `RUN/int8` by default. An older one is replaced.
    allowed_loss : float
        Dice that int8 may lose, 0 to 1.
    patches : int
        Training patches for calibration.
    observer : callable, optional
        Called with a line for the user.

    Returns
    -------
    Price

    Raises
    ------
    ImportError
        If openvino or nncf is not installed.
    FileNotFoundError
        If the run has no plan or model.
    FileExistsError
        If `out` holds something else.
    ValueError
        If int8 loses more Dice than allowed, the run's images are others than those it was trained on, or a value is
        not possible.
    """
    say = observer or (lambda line: None)
    run = Path(run)
    if not 0 <= allowed_loss <= 1 or patches < 1:
        raise ValueError(
            f"allowed_loss is {allowed_loss:g} and patches {patches}; expected a Dice of 0 to 1, such as 0.01, and at "
            "least 1 patch"
        )
    folder = RunPaths(run).int8 if out is None else Path(out)
    check_installed()
    _check_folder(folder)
    net, card = read_model(run)
    plan = _plan(run)
    if (before := read_report(folder)) is not None and not is_current(run, before):
        say(f"{folder}: was calibrated for other weights than the run has now; calibrating anew")
    training, held_out = _cases(run, plan, net)
    ready, started = prepare(net), time.perf_counter()
    model = calibrated_model(ready, _patches(training, plan, net.geometry, patches), n=patches)
    say(f"calibrated on {patches} patches of the training images in {time.perf_counter() - started:.0f} s")
    if not held_out:
        say("the run has no validation images: the price is measured on its training images, which the net knows")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_openvino(model, temporary / "model.xml")
        engine = int8_engine(ready, temporary)
        about: dict[str, Any] = {"weights": weights_hash(run), "patches": patches, "allowed_loss": allowed_loss}
        measured = _measure(ready, engine, held_out or training, card.planes)
        price = QuantisationReport(
            measured_on="validation" if held_out else "training", made_with=_versions(), **about, **measured
        )
        _refuse(price, run)
        write_text(temporary / FILE, json.dumps(asdict(price), indent=2))
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return price


def _check_folder(folder: Path) -> None:
    """Only a folder that this module wrote is ever replaced."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; name a folder for the int8 model")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).is_file():
        raise FileExistsError(f"{folder}: holds something else than an int8 model; name another folder")


def _plan(run: Path) -> Plan:
    path = RunPaths(run).plan
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; int8 is calibrated on a run's images: name its folder")
    return read_plan_file(path)


def _cases(run: Path, plan: Plan, net: Net) -> tuple[list[Case], list[Case]]:
    """What the run was trained and validated on."""
    pairs = find_pairs(plan.data.images, plan.data.masks)
    dataset = load_dataset(pairs, labels=plan.data.labels, objects=net.out_channels > 2, resample=plan.data.resample)
    now = (len(dataset.cases), dataset.channels * (plan.data.planes or 1), len(dataset.kind.values))
    before = (plan.data.n_images, net.in_channels, net.out_channels)
    if now != before:
        raise ValueError(
            f"{plan.data.images}: now holds {now[0]} images for {now[1]} channels and {now[2]} classes; {run} was "
            f"trained on {before[0]}, {before[1]} and {before[2]}, so which ones it has not seen is not known: "
            "bring them back"
        )
    return plan.split(dataset.cases)


def _patches(cases: Sequence[Case], plan: Plan, geometry: Geometry, n: int) -> Iterator[np.ndarray]:
    """Training patches as the net meets them, but for the augmentation: (1, C, *patch), float32."""
    target = geometry.output_size(plan.patches.size)
    sampler = Sampler(
        cases, plan.patches.size, target, 1, Augmentation.none(), plan.budget.seed, planes=plan.data.planes
    )
    for i in range(n):
        yield sampler.draw(i).images.numpy()


def _measure(net: Net, engine: Engine, cases: Sequence[Case], planes: int | None) -> dict[str, Any]:
    """Both on every image, timed without the first run of a size, which compiles."""
    nets = {"float32": net, "int8": with_engine(net, engine)}
    has_distance = cases[0].ids is not None
    n = 2 if has_distance else net.out_channels
    totals = {name: np.zeros((n, n), dtype=np.int64) for name in nets}
    times, changed, known = dict.fromkeys(nets, 0.0), 0, set()
    for case in cases:
        found = {}
        for name, one in nets.items():
            if case.size not in known:
                predict_classes(one, case.image, planes=planes, has_distance=has_distance)
            start = time.perf_counter()
            found[name] = predict_classes(one, case.image, planes=planes, has_distance=has_distance)
            times[name] += time.perf_counter() - start
            totals[name] += confusion(found[name], case.classes, n)
        known.add(case.size)
        changed += int(np.count_nonzero(found["float32"] != found["int8"]))
    pixels = sum(case.labels.size for case in cases)
    scores: dict[str, Score] = {name: score_of(total, times[name]) for name, total in totals.items()}
    numbers: dict[str, Any] = {"images": len(cases), "pixels": pixels, "changed_share": changed / pixels}
    for name, score in scores.items():
        numbers |= {f"dice_{name}": score.mean_dice, f"pixel_error_{name}": score.pixel_error}
        numbers[f"{name}_s"] = score.time_s
    return numbers


def _refuse(price: QuantisationReport, run: Path) -> None:
    if not price.is_allowed:
        raise ValueError(
            f"{run}: int8 lowers the Dice from {price.dice_float32:.4f} to {price.dice_int8:.4f}, by {price.loss:.4f} "
            f"on {price.images} {price.measured_on} images, and changes {price.changed_share:.2%} of the pixels; "
            f"{price.allowed_loss:g} is allowed, so nothing was kept: stay with float32, or allow more with "
            f"--allow-loss {np.ceil(price.loss * 1000) / 1000:.3f}"
        )


def _replace(folder: Path, made: Path) -> None:
    """Put a folder in the place of another, by names alone: whatever happens, none is half old and half new."""
    made.chmod(0o755)  # mkdtemp keeps others out
    if not folder.exists():
        made.rename(folder)
        return
    old = made.with_name(f"{made.name}.old")
    folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("openvino", "nncf"))
