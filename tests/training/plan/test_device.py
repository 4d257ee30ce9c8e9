"""Threads that a plan records are used again, since sums depend on them."""

import pytest
import torch

from unetkit.training.plan.device import use_threads, usual_threads


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_the_threads_of_a_plan_win(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert use_threads(None) == use_threads(threads) == ""
    message = use_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1 == usual_threads()
    assert message.startswith(f"{threads + 1} threads")
    assert f"not {threads} (OMP_NUM_THREADS=7)" in message


def test_several_processes_record_none(monkeypatch):
    monkeypatch.setattr("unetkit.training.plan.device.world_size", lambda: 2)
    assert usual_threads() is None
