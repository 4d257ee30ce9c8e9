"""What a type checker says of a user's script: nothing, and what is wrong with a misspelled setting."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from pathlib import Path
from typing import Any

import numpy as np

import unetkit

run = unetkit.train("images", "masks", out="RUN", time_s=60, settings={"optim": {"learning_rate": 1e-3}})
opened = unetkit.Run.open("RUN")
print(opened.steps, opened.log()[-1]["mean_dice"], opened.plan.optim.learning_rate)
predictor: unetkit.Predictor = opened.predictor()
labels: np.ndarray[Any, Any] = predictor(np.zeros((30, 40), np.float32)).labels
image = unetkit.read("a.png")
result = predictor(image, unetkit.Outputs(probabilities=True))
unetkit.write_labels("a_mask.png", result.to_image())
for done in unetkit.load_model("RUN", unetkit.Execution(tta=True)).predict_files(list(Path("new").iterdir()), "MASKS"):
    print(done.mask, done.time_s)
"""


def mypy(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    words = [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--config-file", "", "script.py"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_users_script_passes_and_a_misspelled_setting_does_not(tmp_path: Path) -> None:
    done = mypy(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stdout
    wrong = mypy(SCRIPT.replace('"learning_rate"', '"learning_rat"'), tmp_path)
    assert wrong.returncode == 1
    assert 'Argument "settings" to "train" has incompatible type' in wrong.stdout
