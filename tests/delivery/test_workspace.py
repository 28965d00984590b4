"""What a killed deployment leaves is removed by the next, and nothing of one that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deployd.errors import Refused
from deployd_cli.delivery.workspace import taken, workspace

DIES = """\
import os, signal, sys
from pathlib import Path
from deployd_cli.delivery.workspace import taken, workspace
with workspace(Path(sys.argv[1])) as directory, taken(directory, "v7"):
    (directory / "unpacked").mkdir()
    (directory / "unpacked" / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_rest_of_a_killed_one_is_removed_by_the_next(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False).returncode == -9
    assert len(names(tmp_path)) == 2
    assert names(tmp_path)[1] == "v7"
    (tmp_path / "empty").mkdir()
    with workspace(tmp_path) as directory:
        assert names(tmp_path) == sorted([directory.name, "empty"])
    assert names(tmp_path) == ["empty"], "a directory that another made stays"


def test_two_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    with workspace(tmp_path) as first, taken(first, "v7") as place, workspace(tmp_path) as second:
        assert first != second
        assert names(tmp_path) == sorted([first.name, second.name, "v7"])
        with pytest.raises(Refused, match="v7 is an empty directory: another command deploys it"), taken(second, "v7"):
            pass
        assert place.is_dir()
    assert names(tmp_path) == []


def test_a_release_takes_the_place_of_the_empty_directory(tmp_path: Path) -> None:
    with workspace(tmp_path) as directory, taken(directory, "v7") as final:
        assert (directory.stat().st_mode & 0o777, names(final)) == (0o700, [])
        (directory / "built").mkdir()
        (directory / "built" / "app.py").touch()
        (directory / "built").rename(final)
    assert names(tmp_path) == ["v7"]
    assert names(tmp_path / "v7") == ["app.py"]
