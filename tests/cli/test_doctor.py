import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unetkit.cli import doctor
from unetkit.cli.doctor import examine

FINE = "Everything needed is here."


@pytest.fixture(autouse=True)
def small_and_roomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiny inputs, and a machine that lacks nothing; the tests then take something away."""
    monkeypatch.setattr(doctor, "_PATCH", 32)
    monkeypatch.setattr(doctor, "_IMAGE", 64)
    monkeypatch.setattr(doctor, "_free_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 2**30))
    monkeypatch.chdir(tmp_path)


def _same_speed(monkeypatch: pytest.MonkeyPatch, rate: float = 2.0) -> None:
    monkeypatch.setattr(doctor, "_rate", lambda work, seconds, device: rate)


def test_a_real_examination_names_versions_and_speed() -> None:
    import torch

    lines = examine(seconds=0.01)
    assert lines[0].startswith("unetkit ")
    assert f"torch {torch.__version__.split('+')[0]}" in lines[0]  # a CUDA build has its version in pip without +cu130
    assert any("training steps per second" in line for line in lines)
    assert any("in 10 minutes" in line for line in lines)
    assert any(line.startswith(f"folder {Path.cwd()}: 50.0 GB free, can be written") for line in lines)
    assert lines[-1] == FINE


def test_nothing_is_left_behind_in_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _same_speed(monkeypatch)
    examine()
    assert not list(tmp_path.iterdir())


def test_the_speed_is_translated_into_steps_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_IMAGE", 1024)
    _same_speed(monkeypatch, 2.0)
    text = "\n".join(doctor._speed(1.0)[0])
    assert "inference 2.1 million pixels per second" in text  # 2 x 1024^2
    assert "about 300 training steps of 4 patches in 10 minutes" in text  # 2 x 600 / 4
    assert "in about 8 s" in text  # 16 such images at 2 per second


def test_the_rate_counts_all_runs_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs = SimpleNamespace(now=0.0), itertools.count()

    def work() -> None:
        clock.now += 10.0 if next(runs) == 0 else 0.5

    monkeypatch.setattr(doctor.time, "perf_counter", lambda: clock.now)
    assert doctor._rate(work, 3.0, "cpu") == pytest.approx(2.0)
    assert next(runs) == 1 + 6


def test_timing_trains_the_net_and_then_leaves_gradients_out() -> None:
    net = doctor.UNet(doctor.Architecture(widths=(2, 4)))
    before = net.heads[0].weight.detach().clone()
    doctor._training_step(net, "cpu")()
    assert not before.equal(net.heads[0].weight)
    trained = net.heads[0].weight.detach().clone()
    doctor._inference(net.eval(), "cpu")()
    assert trained.equal(net.heads[0].weight)


def test_missing_packages_and_extras_come_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    _same_speed(monkeypatch)
    declared = [
        "numpy>=1.26",
        "no-such-core>=2",
        'no-such-extra>=1; extra == "fast"',
        "numpy; extra == 'plain'",
        'no-such-tool; extra == "dev"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: declared)
    lines = examine()
    assert "optional fast: not here (no-such-extra): pip install 'unetkit[fast]'" in lines
    assert "optional plain: present" in lines
    assert not any("no-such-tool" in line for line in lines)
    assert lines[-2:] == ["1 thing to fix:", "  pip install no-such-core"]


def test_a_package_that_is_not_installed_declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", refuse)
    assert doctor._declared() == []


@pytest.mark.parametrize("found, words", [(None, "no g++"), ("/usr/bin/g++", "g++ present")])
def test_the_compiler_is_optional(monkeypatch: pytest.MonkeyPatch, found: str | None, words: str) -> None:
    _same_speed(monkeypatch)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: found)
    lines = examine()
    assert any(words in line and line.startswith("compiler") for line in lines)
    assert any("apt install g++" in line for line in lines) == (found is None)
    assert lines[-1] == FINE


def test_little_room_is_to_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    _same_speed(monkeypatch)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 2**20))
    monkeypatch.setattr(doctor, "_free_memory", lambda: 2**29)
    lines = examine()
    assert lines[-3] == "2 things to fix:"
    assert "0.5 GB of memory are free" in lines[-2]
    assert "has 100 MB left" in lines[-1]


def test_a_folder_without_write_access_is_to_be_fixed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    _same_speed(monkeypatch)
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    lines = examine()
    assert any(line.endswith("cannot be written") for line in lines)
    assert f"--out: {tmp_path}: Permission denied" in lines[-1]
    assert FINE not in lines


@pytest.mark.parametrize("load, is_busy", [(0.1, False), (3.0, True)])
def test_a_busy_machine_is_said_to_be_busy(monkeypatch: pytest.MonkeyPatch, load: float, is_busy: bool) -> None:
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 2)
    lines, fixes = doctor._load()
    assert any("load 3.0 on 2 cores" in line for line in lines) == is_busy
    assert not fixes


@pytest.mark.parametrize("seconds", [0, -1.5, float("nan")])
def test_no_time_for_the_test_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=rf"seconds is {seconds:g}; expected more than 0"):
        examine(seconds=seconds)
