"""Disks that fail at a given step, or record the order of the steps."""

from __future__ import annotations

import errno
from pathlib import Path

from deployd.state.disk import Disk


class FailingDisk(Disk):
    """Raises at step `fail_at`, before or after it is carried out; records the steps."""

    def __init__(self, fail_at: int = -1, after: bool = False, code: int = errno.ENOSPC) -> None:
        self.fail_at = fail_at
        self.after = after
        self.code = code
        self.steps: list[tuple[str, Path]] = []

    def _before(self, step: str, path: Path) -> None:
        self.steps.append((step, path))
        if not self.after:
            self._fail()

    def _fail(self) -> None:
        if len(self.steps) - 1 == self.fail_at:
            # Only once, so that the cleanup after the failure can succeed.
            self.fail_at = -1
            raise OSError(self.code, "made to fail")

    def write(self, path: Path, data: bytes, mode: int) -> None:
        self._before("write", path)
        super().write(path, data, mode)
        self._fail()

    def symlink(self, target: str, path: Path) -> None:
        self._before("symlink", path)
        super().symlink(target, path)
        self._fail()

    def directory(self, path: Path, mode: int = 0o755) -> None:
        self._before("directory", path)
        super().directory(path, mode)
        self._fail()

    def rename(self, old: Path, new: Path) -> None:
        self._before("rename", new)
        super().rename(old, new)
        self._fail()

    def sync(self, directory: Path) -> None:
        self._before("sync", directory)
        super().sync(directory)
        self._fail()

    def remove(self, path: Path) -> None:
        self._before("remove", path)
        super().remove(path)
        self._fail()


class PowerLoss(BaseException):
    """Not caught by any handler, so that nothing after it is carried out."""


class DyingDisk(FailingDisk):
    """Acts as if the daemon was killed, or the power lost, at step `fail_at`."""

    def _fail(self) -> None:
        if len(self.steps) - 1 == self.fail_at:
            raise PowerLoss
