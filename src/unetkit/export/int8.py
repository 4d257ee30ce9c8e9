"""A run's net in int8, calibrated on its own training patches, and its loss, measured on its validation images.

Only whole numbers of 8 bits make a net this fast on a processor, and only a measurement shows what they lose. So an
int8 model is never kept without its report, and one that loses too much is not kept at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from math import prod
from pathlib import Path

import numpy as np

from ..data.case import Case
from ..geometry import Geometry
from ..inference.engines.int8_card import FILE, QuantisationReport, is_current, read_report
from ..inference.engines.openvino import calibrated_model, check_installed, int8_engine, save_openvino
from ..inference.predictor import Predictor
from ..io.atomic import check_folder_writable, replace_folder, write_text
from ..metrics.pixels import confusion
from ..model.files import read_model, weights_hash
from ..progress import SILENT, Progress
from ..training.augment.augment import Augmentation
from ..training.plan.plan import Plan
from ..training.run import Run
from ..training.sampler import Sampler
from ..training.validation import ValidationScore, predict_classes

__all__ = ["ALLOWED_LOSS", "export_int8"]

ALLOWED_LOSS = 0.005  # of Dice
PATCHES = 192  # from 100 to 300 the ranges no longer move


def export_int8(
    run: Run | Path | str,
    *,
    out: Path | str | None = None,
    allowed_loss: float = ALLOWED_LOSS,
    patches: int = PATCHES,
    progress: Progress = SILENT,
) -> QuantisationReport:
    """Make the int8 model of a run, measure its loss, and keep it if that is little.

    Parameters
    ----------
    run : Run or path
        Run folder; its images are read from where they were.
    out : path, optional
        Folder for model.xml, model.bin and price.json, `RUN/int8` by default. An older one is replaced.
    allowed_loss : float
        Dice that int8 may lose, 0 to 1.
    patches : int
        Training patches for calibration.
    progress : Progress

    Returns
    -------
    QuantisationReport

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
    if not 0 <= allowed_loss <= 1 or patches < 1:
        raise ValueError(
            f"allowed_loss is {allowed_loss:g} and patches {patches}; expected a Dice of 0 to 1, such as 0.01, and at "
            "least 1 patch"
        )
    run = run if isinstance(run, Run) else Run.open(run)
    root, folder = run.paths.root, run.paths.int8 if out is None else Path(out)
    check_installed()
    # Only a folder that this module wrote is ever replaced.
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; name a folder for the int8 model")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).is_file():
        raise FileExistsError(f"{folder}: holds something else than an int8 model; name another folder")
    check_folder_writable(folder)
    predictor = Predictor(*read_model(root))
    if (former := read_report(folder)) is not None and not is_current(root, former):
        progress.update(message=f"{folder}: was calibrated for other weights than the run has now; calibrating again")
    training, held_out = run.split()
    ready, started = predictor.members[0].net, time.perf_counter()
    model = calibrated_model(ready, _patches(training, run.plan, ready.geometry, patches), n=patches)
    elapsed_s = time.perf_counter() - started
    progress.update(message=f"calibrated on {patches} patches of the training images in {elapsed_s:.0f} s")
    if not held_out:
        progress.update(
            message="the run has no validation images: the loss is measured on the images that it was trained on"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replace_folder(folder) as temporary:
        save_openvino(model, temporary / "model.xml")
        int8 = predictor.computed_by(int8_engine(ready, temporary))
        cases = held_out or training
        before, after, changed_share = _measure(predictor, int8, cases)
        report = QuantisationReport(
            weights=weights_hash(root),
            patches=patches,
            measured_on="validation" if held_out else "training",
            images=len(cases),
            pixels=sum(prod(case.size) for case in cases),
            dice_float32=before.quality,
            dice_int8=after.quality,
            pixel_error_float32=before.pixel_error,
            pixel_error_int8=after.pixel_error,
            changed_share=changed_share,
            float32_s=before.time_s,
            int8_s=after.time_s,
            allowed_loss=allowed_loss,
            made_with=", ".join(f"{name} {version(name)}" for name in ("openvino", "nncf")),
        )
        if not report.is_allowed:
            raise ValueError(
                f"{root}: int8 lowers the Dice from {report.dice_float32:.4f} to {report.dice_int8:.4f}, by "
                f"{report.loss:.4f} on {report.images} {report.measured_on} images, and changes "
                f"{report.changed_share:.2%} of the pixels; {report.allowed_loss:g} is allowed, so nothing was kept: "
                f"stay with float32, or allow more with --allow-loss {np.ceil(report.loss * 1000) / 1000:.3f}"
            )
        write_text(temporary / FILE, json.dumps(asdict(report), indent=2))
    return report


def _patches(cases: Sequence[Case], plan: Plan, geometry: Geometry, n: int) -> Iterator[np.ndarray]:
    """Training patches without augmentation: (1, C, *patch), float32."""
    size, data = plan.patches.size, plan.data
    none, seed = Augmentation.none(), plan.budget.seed
    sampler = Sampler(cases, size, geometry.output_size(size), 1, none, seed, planes=data.planes)
    for i in range(n):
        yield sampler.draw(i).images.numpy()


def _measure(
    float32: Predictor, int8: Predictor, cases: Sequence[Case]
) -> tuple[ValidationScore, ValidationScore, float]:
    """Scores of both on every image, timed without the first run of a size, which compiles; share of changed pixels."""
    n = float32.net.out_channels if cases[0].ids is None else 2
    totals, times = [np.zeros((n, n), dtype=np.int64) for _ in range(2)], [0.0, 0.0]
    changed, known = 0, set()
    for case in cases:
        masks = []
        for i, predictor in enumerate((float32, int8)):
            if case.size not in known:
                predict_classes(predictor, case)
            start = time.perf_counter()
            masks.append(predict_classes(predictor, case))
            times[i] += time.perf_counter() - start
            totals[i] += confusion(masks[i], np.asarray(case.classes), n)
        known.add(case.size)
        changed += int(np.count_nonzero(masks[0] != masks[1]))
    before, after = (ValidationScore.from_confusion(*pair) for pair in zip(totals, times, strict=True))
    return before, after, changed / sum(prod(case.size) for case in cases)
