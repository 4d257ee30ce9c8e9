"""The whole story on synthetic cells: make images, train, predict, score, report."""

from pathlib import Path

from ..data.synthetic import write_synthetic_cells
from ..inference.predictor import load_model
from ..metrics.folders import evaluate
from ..model.run_paths import RunPaths
from ..progress import SILENT, Progress
from ..report import write_report
from ..training.loop import train


def run_demo(out: Path | str, *, time_s: float = 60.0, progress: Progress = SILENT) -> list[str]:
    """The whole story on synthetic cells: make images, train, predict larger ones, score, report.

    Parameters
    ----------
    out : path
        Folder to make: `data/` and `test/` (images and masks), `run/`, `predicted/`.
    time_s : float
        Seconds of training.
    progress : Progress
        Of the training.

    Returns
    -------
    list of str
        What came out and where to look, in lines for the user.

    Raises
    ------
    FileExistsError
        If `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out}: exists; name another folder with --out")
    images, masks = write_synthetic_cells(out / "data", n=24, size=(256, 256), seed=0)
    test_images, test_masks = write_synthetic_cells(out / "test", n=4, size=(600, 470), seed=1000)
    run = train(images, masks, out=out / "run", time_s=time_s, progress=progress)
    predicted = load_model(out / "run").predict_files([test_images], out / "predicted")
    scores = evaluate(out / "predicted", test_masks)
    page = write_report(out / "run")
    size = " x ".join(map(str, predicted[0].size))
    return [
        f"Trained {run.steps} steps in {run.time_s:.0f} s: validation Dice {run.dice or 0:.4f}",
        f"Segmented {len(predicted)} new images of {size}: Dice {scores.mean.dice:.4f}, "
        f"pixel error {scores.pixel_error:.4f}",
        "Look at:",
        f"  {page}  (open it in a browser)",
        f"  {RunPaths(out / 'run').preview('median')}  (image, truth, prediction, differences)",
        f"  {out / 'predicted'}  (the new masks, beside {test_images})",
        f"What the net sees, and why: unetkit inspect {out / 'run'}",
        "Your own data: unetkit train IMAGES MASKS --out RUN --time 10m; unetkit predict RUN IMAGES --out MASKS",
    ]
