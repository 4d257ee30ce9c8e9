"""What the environment says of other processes is used whole, or said."""

import pytest

from unetkit.training.environment import environment_notes, is_first, is_started

WHOLE = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)


def test_one_process(monkeypatch):
    assert (is_started(), is_first(), environment_notes()) == (False, True, [])
    monkeypatch.setenv("RANK", "3")
    assert (is_started(), is_first()) == (False, True)
    assert environment_notes() == ["RANK=3 without WORLD_SIZE in the environment: ignored, this process trains alone"]


def test_one_of_several(monkeypatch):
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert (is_started(), is_first(), environment_notes()) == (True, False, [])
    monkeypatch.setenv("RANK", "0")
    assert is_first()


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"WORLD_SIZE=4 .* RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"):
        is_started()
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ValueError, match="WORLD_SIZE='many' in the environment"):
        is_started()
