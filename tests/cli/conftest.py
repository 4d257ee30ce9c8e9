"""The command line in this process."""

import sys

import pytest

from unetkit import cli


@pytest.fixture
def run_cli(monkeypatch, capfd):
    """`main()` in this process, as the console script calls it: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unetkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return caught.value.code or 0, out, err

    return run
