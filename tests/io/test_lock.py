"""One writer of a folder."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unetkit.io.lock import sole_writer, sole_writer_of

HOLD = """
import sys
from pathlib import Path
from unetkit.io.lock import sole_writer, sole_writer_of
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


def test_a_full_disk_is_told_with_the_path(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        for held in (sole_writer(tmp_path / "run"), sole_writer_of(tmp_path / "a.tif")):
            with pytest.raises(OSError, match=r"cannot write .*\.writer: No space left on device"), held:
                pass
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError, match="run: is a file; name a folder"), sole_writer(tmp_path / "run"):
        pytest.fail("held")


HOLD_FILE = HOLD.replace("import sole_writer", "import sole_writer_of as sole_writer")


def test_the_second_writer_of_a_file_is_told_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.HOLD", HOLD_FILE)
    process = hold(tmp_path / "a[1].tif")
    try:
        with sole_writer_of(tmp_path / "b.tif"):
            pass  # another file of the folder
        refusal = pytest.raises(FileExistsError, match=rf"a\[1\]\.tif: process {process.pid} on .* writes this file")
        with refusal, sole_writer_of(tmp_path / "a[1].tif"):
            pytest.fail("two writers")
    finally:
        process.communicate("")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_of_its_file_is_removed(tmp_path):
    (tmp_path / ".a.tif.0123abcd.tmp").write_text("half")
    (tmp_path / ".a.tif.89abcdef.tmp").mkdir()
    kept = {".b.tif.0123abcd.tmp", ".a.tif.partial", "a.tif"}
    for name in kept:
        (tmp_path / name).write_text("whole")
    with sole_writer_of(tmp_path / "a.tif"):
        assert {path.name for path in tmp_path.iterdir()} == kept | {".a.tif.lock", ".a.tif.writer"}
    assert {path.name for path in tmp_path.iterdir()} == kept
