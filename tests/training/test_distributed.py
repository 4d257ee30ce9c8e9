"""Two processes that share every batch take the steps of one process with the whole batch."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from flat import train_flat

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.model.files import read_model
from unetkit.training import distributed
from unetkit.training.checkpoint import load_state
from unetkit.training.distributed import JointBatchNorm, launch
from unetkit.training.sampler import Batch

STEPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_cells(tmp_path_factory.mktemp("data"), n=5, size=(64, 64))


GIVEN = {"steps": STEPS, "widths": (4, 8, 8), "batch": 5, "patch": 64, "device": "cpu", "precision": "float32"}


def command(data, out, *more):
    images, masks = map(str, data)
    options = ["--steps", str(STEPS), "--widths", "4,8,8", "--batch", "5", "--patch", "64"]
    return ["train", images, masks, "--out", str(out), *options, "--device", "cpu", "--precision", "float32", *more]


def losses(out):
    return load_state(out / "last" / "state.safetensors")[1]["losses"]


@pytest.mark.slow
def test_the_losses_and_weights_of_one_process(data, tmp_path):
    """Two processes that the command line starts, against one; and then the one goes on with what the two began."""
    more = {"net": "unet++", "supervision": True}
    script = tmp_path / "unetkit"
    script.write_text("from unetkit.cli.main import main\nmain()\n")
    words = ["--net", "unet++", "--supervise", "--devices", "2", "--json"]
    shared = [sys.executable, str(script), *command(data, tmp_path / "two", *words)]
    done = subprocess.run(shared, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == STEPS  # said once
    train_flat(*data, out=tmp_path / "one", **GIVEN, **more)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == STEPS
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
    nets = [read_model(tmp_path / name)[0].state_dict() for name in ("one", "two")]
    for name, weights in nets[0].items():
        torch.testing.assert_close(nets[1][name], weights, rtol=1e-3, atol=1e-4, msg=name)
    assert (tmp_path / "two" / "report.html").is_file()
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == STEPS
    plan = tmp_path / "two" / "plan.json"
    values = json.loads(plan.read_text())
    values["budget"]["steps"] = STEPS + 2
    plan.write_text(json.dumps(values))
    train_flat(*data, out=tmp_path / "two", resume=True, **(GIVEN | {"steps": STEPS + 2}), **more)
    assert losses(tmp_path / "two")[:STEPS] == two
    assert len(losses(tmp_path / "two")) == STEPS + 2


@pytest.mark.slow
def test_data_that_memory_does_not_hold(data, tmp_path):
    """Two processes that make one cache, and share it, train the net that two train with all data in memory."""
    script = tmp_path / "unetkit"
    script.write_text("from unetkit.cli.main import main\nmain()\n")
    nets = []
    for name, memory in (("held", "1GB"), ("cached", "1K")):
        words = ["--devices", "2", "--json", "--memory", memory]
        shared = [sys.executable, str(script), *command(data, tmp_path / name, *words)]
        done = subprocess.run(shared, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        nets.append(read_model(tmp_path / name)[0].state_dict())
    assert all(torch.equal(weights, nets[1][name]) for name, weights in nets[0].items())
    cache = tmp_path / "cached" / "cache"
    assert list(cache.glob("*-classes.npy"))
    assert not list(cache.glob("*.tmp"))


@pytest.mark.slow
def test_an_error_is_said_once(tmp_path, capfd):
    code = "from unetkit.cli.main import main; main()"
    assert launch([sys.executable, "-c", code, *command((tmp_path / "none",) * 2, tmp_path / "out")], 2) == 1
    assert capfd.readouterr().err.count("error: ") == 1


def test_an_error_of_another_process_is_heard(capfd):
    code = "import os, sys\nif os.environ['RANK'] == '1': sys.exit('the second one fails')\nimport time; time.sleep(60)"
    assert launch([sys.executable, "-c", code], 2) == 1
    assert "the second one fails" in capfd.readouterr().err


def test_a_batch_that_is_too_small(monkeypatch):
    monkeypatch.setattr(distributed, "_is_joined", lambda: True)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    batch = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4), None)
    with pytest.raises(ValueError, match=r"a batch of 1 cannot be shared by 2 processes: give --batch 2 or more"):
        distributed.shard(batch)


# --- in a process that is alone ---


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_joint_batch_norm_is_torch_s(ndim, momentum):
    torch.manual_seed(0)
    plain = {2: torch.nn.BatchNorm2d, 3: torch.nn.BatchNorm3d}[ndim](5, momentum=momentum)
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.bias.uniform_(-1, 1)
    joined = JointBatchNorm.of({2: torch.nn.BatchNorm2d, 3: torch.nn.BatchNorm3d}[ndim](5, momentum=momentum))
    joined.load_state_dict(plain.state_dict())
    for _ in range(3):
        x = (torch.randn(4, 5, *(6,) * ndim) * 3 + 2).requires_grad_()
        other = x.detach().clone().requires_grad_()
        one, two = plain(x), joined(other)
        torch.testing.assert_close(two, one)
        weights = torch.randn_like(one)
        (one * weights).sum().backward()
        (two * weights).sum().backward()
        torch.testing.assert_close(other.grad, x.grad, rtol=1e-4, atol=1e-5)
    for (name, first), (_, second) in zip(plain.state_dict().items(), joined.state_dict().items(), strict=True):
        torch.testing.assert_close(second, first, msg=name)
    x = torch.randn(2, 5, *(6,) * ndim)
    torch.testing.assert_close(joined.eval()(x), plain.eval()(x))


def test_alone_nothing_is_changed():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    assert distributed.wrap_ddp(net) is net
    assert type(net[1]) is torch.nn.BatchNorm2d
    batch = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4), None)
    assert distributed.shard(batch) is batch
    x = torch.ones(3)
    assert distributed.all_reduce(x) is x
    assert (distributed.rank(), distributed.world_size(), distributed.broadcast("a")) == (0, 1, "a")
    with distributed.process_group():
        assert distributed.rank() == 0


# --- the end of a job ---

CHILD = "import signal, sys, time\nsignal.signal(15, lambda *a: sys.exit(0))\nprint('up', flush=True)\ntime.sleep(60)"
STARTER = (
    "import sys\nfrom unetkit.training.distributed import launch\nsys.exit(launch([sys.executable, '-c', {!r}], 2))"
)


def test_sigterm_reaches_the_processes_that_were_started():
    code = STARTER.format(CHILD)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout.readline() == "up\n"
        time.sleep(0.5)  # the second one does not print
        starter.terminate()
        assert starter.wait(20) == 0  # both have ended in order


def test_the_end_of_the_starter_is_seen(monkeypatch):
    assert not distributed.has_lost_starter()
    monkeypatch.setenv("UNETKIT_STARTER", str(os.getppid()))
    assert not distributed.has_lost_starter()
    monkeypatch.setenv("UNETKIT_STARTER", str(os.getppid() + 1))
    assert distributed.has_lost_starter() == (os.name == "posix")
