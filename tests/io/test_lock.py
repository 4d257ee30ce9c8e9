"""One writer of a folder."""

import os
import subprocess
import sys

import pytest

from unetkit.io.lock import sole_writer

HOLD = """
import sys
from pathlib import Path
from unetkit.io.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_writer_is_told_the_first(tmp_path):
    process = hold(tmp_path / "run")
    try:
        refusal = pytest.raises(FileExistsError, match=rf"run: process {process.pid} on .* writes into this folder")
        with refusal, sole_writer(tmp_path / "run"):
            pytest.fail("two writers")
    finally:
        process.communicate("")
    assert not (tmp_path / "run").exists()  # nothing was written
    with sole_writer(tmp_path / "run"):
        (tmp_path / "run" / "kept").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kept"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_the_lock_of_a_killed_process_is_no_lock(tmp_path):
    process = hold(tmp_path)
    process.kill()
    process.communicate()
    with sole_writer(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".writer").read_text()
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError, match="run: is a file; name a folder"), sole_writer(tmp_path / "run"):
        pytest.fail("held")
