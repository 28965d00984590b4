"""A release of the sample app as a tar archive, which is all that the host then has of it."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Mapping

from tests.host.stage import Stage


def packed(stage: Stage, version: str, mode: str = "good", files: Mapping[str, str] | None = None) -> bytes:
    """Make a release, compressed by gzip, and remove its directory."""
    path = stage.machine.path(stage.release(version, mode=mode, files=files))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(path, arcname=".")
    shutil.rmtree(path)
    return stream.getvalue()
