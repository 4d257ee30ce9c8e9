"""Files are written whole or not at all; more in tests/model/test_files.py, where model files are."""

import errno
import shutil

import pytest

from unetkit.io.atomic import (
    check_folder_writable,
    check_writable,
    replace_file,
    replace_folder,
    write_bytes,
    write_text,
)


@pytest.mark.parametrize("content", ["text µ", b"\x00bytes"])
def test_files_are_written_and_replaced(tmp_path, content):
    path = tmp_path / "new" / "deeper" / "file"
    for _ in range(2):
        (write_text if isinstance(content, str) else write_bytes)(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_failure_inside_keeps_the_previous_file_and_its_number(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fill():
        with replace_file(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match=r"cannot write .*file: disk full; nothing was written") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_written_and_replaced(tmp_path):
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with replace_folder(path) as temporary:
            (temporary / content).write_text(content)
            assert temporary.parent == tmp_path
        assert [file.name for file in path.iterdir()] == [content]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_inside_keeps_the_previous_folder_and_its_number(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "before").touch()

    def fill():
        with replace_folder(path) as temporary:
            (temporary / "half").touch()
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match=r"cannot write .*folder: disk full; nothing was written") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in path.iterdir()] == ["before"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_still_written_into_is_removed(tmp_path, monkeypatch):
    """Threads of zarr write on for a moment after one of them failed."""
    remove, calls = shutil.rmtree, []

    def racing(folder, **options):
        remove(folder, **options)
        calls.append(folder)
        if len(calls) < 3:  # a thread that was late
            folder.mkdir()
            (folder / "late").touch()

    monkeypatch.setattr("unetkit.io.atomic.shutil.rmtree", racing)
    with pytest.raises(OSError, match="cannot write"), replace_folder(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    assert len(calls) == 3


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    write_text(tmp_path / "t.csv", "caf\udce9,1")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "caf\\udce9,1"


def test_what_plainly_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "deep" / "a.csv", suffix=".csv")
    check_folder_writable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"a\.png: expected the name of a \.csv file"):
        check_writable(tmp_path / "a.png", suffix=".csv")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        check_writable(tmp_path)
    for check in (check_writable, check_folder_writable):
        with pytest.raises(NotADirectoryError, match=r"a: \S*file is a file, and so has no place for it"):
            check(tmp_path / "file" / "a")
    with pytest.raises(FileExistsError, match="file: is a file; name a folder"):
        check_folder_writable(tmp_path / "file")


@pytest.mark.parametrize("check", [check_writable, check_folder_writable])
def test_a_disk_that_is_read_only_is_said_before_the_work(check, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=rf"a: {tmp_path} cannot be written to: no permission, or a read-only"):
        check(tmp_path / "a")


def test_a_failure_on_a_read_only_disk_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    """There, removing the temporary file, which was never made, fails as well."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    refusal = pytest.raises(OSError, match=r"cannot write \S*a\.txt: Read-only file system; nothing was written")
    with refusal, replace_file(tmp_path / "a.txt"):
        refuse()
