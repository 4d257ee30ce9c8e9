"""A training that is killed with SIGKILL again and again, at any moment, ends with the weights of one that was not."""

import json
import multiprocessing
import signal
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.model.files import read_model
from unetkit.training.checkpoint import load_state

STEPS = 40
# The process that is killed. It saves after every step; `dies` makes it kill itself inside its n-th write of a file:
# before the temporary file is complete, before it is renamed, or right after.
TRAINING = """
import os, signal
import torch
from unetkit.training import loop as train

torch.set_num_threads(1)
train._SAVE_EVERY_S = 0.0
write_state = train.RunWriter.state
train.RunWriter.state = lambda writer, training: 0.0 * write_state(writer, training)  # as if it took no time

def die_in(name, n, after):
    real, calls = getattr(os, name), []
    def call(*args):
        calls.append(args)
        if len(calls) == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, call)

if dies:
    die_in(*dies)
pipe.send(-1)

class Steps:
    def update(self, done=0.0, total=0.0, message="", step=0, **values):
        pipe.send(step)

settings = {
    "data": {"validation_fraction": 0.34},
    "net": {"widths": (4, 8)},
    "patches": {"size": (32, 32), "batch": 2},
    "device": {"name": "cpu"},
}
train.train(data, out=out, steps=steps, settings=settings, resume=True, progress=Steps())
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_cells(folder, n=3, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def start(data):
    """Start a training in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["unetkit.training.loop", "torch._dynamo"])  # torch loads the latter late, in 3 s

    def start(out, dies=None):
        reader, writer = context.Pipe(duplex=False)
        names = {"data": str(data), "out": str(out), "steps": STEPS, "dies": dies, "pipe": writer}
        process = context.Process(target=exec, args=(TRAINING, names))
        process.start()
        writer.close()
        return process, reader

    return start


def wait_for(reader, step):
    """Until the process has told that it took this step, or has ended."""
    reached = -2
    while reached < step:
        try:
            reached = max(reached, reader.recv())
        except EOFError:
            return


def finish(start, out):
    process, reader = start(out)
    wait_for(reader, STEPS + 1)
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
def test_ten_kills_change_nothing(start, tmp_path):
    rng = np.random.default_rng(20)
    finish(start, tmp_path / "whole")
    run, reached = tmp_path / "run", []
    state = run / "last" / "state.safetensors"
    # Wait for a step and up to so many seconds more, or die in the n-th write: at the start, and all over the run.
    kills = [(-1, 0.0), (-1, 0.3), ("fsync", 1, False)]
    writes = [("fsync", 9, False), ("replace", 12, False), ("replace", 7, True)]
    steps = sorted(int(step) for step in rng.integers(2, STEPS - 5, 4))
    kills += [(steps[0], 0.05), writes[0], (steps[1], 0.05), writes[1], (steps[2], 0.05), writes[2], (steps[3], 0.05)]
    for kill in kills:
        process, reader = start(run, kill if len(kill) == 3 else None)
        wait_for(reader, kill[0] if len(kill) == 2 else STEPS + 1)
        if len(kill) == 2:
            time.sleep(rng.uniform(0, kill[1]))
            process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(load_state(state)[1]["step"] if state.exists() else 0)
        if (run / "model.safetensors").exists():
            read_model(run)
    assert len(reached) == 10
    assert reached == sorted(reached)
    assert max(reached) < STEPS
    finish(start, run)
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", run))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "whole", run)
    ]
    assert [entry["step"] for entry in logs[1]] == list(range(2, STEPS + 1, 2))
    for one, other in zip(*logs, strict=True):
        assert (one["step"], one["loss"], one["mean_dice"]) == (other["step"], other["loss"], other["mean_dice"])
    assert not [path for path in run.rglob("*") if ".tmp" in path.name]
