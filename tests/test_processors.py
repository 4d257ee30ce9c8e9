"""Processors of a job: affinity, and the quotas of control groups of both versions."""

import os
from pathlib import Path

import pytest
import torch

from unetkit import processors


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine of 64 processors whose control groups are files here."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(processors, "_CGROUPS", tmp_path)
    read = Path.read_text

    def write(own, **files):
        monkeypatch.setattr(Path, "read_text", lambda path: own if str(path) == "/proc/self/cgroup" else read(path))
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_max", ".max").replace("cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    "own, files, n",
    [
        ("0::/job/step", {}, 64),
        ("0::/job/step", {"job__step__cpu_max": "max 100000"}, 64),
        ("0::/job/step", {"job__step__cpu_max": "300000 100000"}, 3),
        ("0::/job/step", {"job__cpu_max": "150000 100000", "job__step__cpu_max": "max 100000"}, 2),
        ("0::/", {"cpu_max": "20000 100000"}, 1),
        (
            "4:cpu,cpuacct:/job\n3:memory:/",
            {"cpu__job__cfs_quota_us": "400000", "cpu__job__cfs_period_us": "100000"},
            4,
        ),
        ("4:cpu:/job", {"cpu__job__cfs_quota_us": "-1", "cpu__job__cfs_period_us": "100000"}, 64),
        ("0::/job", {"job__cpu_max": "unreadable"}, 64),
    ],
)
def test_quotas(groups, own, files, n):
    groups(own, **files)
    assert processors.count_processors() == n


def test_affinity_is_a_limit_too(groups, monkeypatch):
    groups("0::/", cpu_max="300000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert processors.count_processors() == 1


def test_without_either_all_of_the_machine(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(processors, "_quotas", list)
    assert processors.count_processors() == os.cpu_count()


@pytest.mark.parametrize("asked, n", [(None, 2), ("8", 8)])
def test_threads_beyond_the_quota_are_left_out_but_where_they_are_asked_for(monkeypatch, asked, n):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(processors, "count_processors", lambda: 2)
    before, threads = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    processors.limit_threads()
    assert (threads or [8]) == [n]
    assert before
