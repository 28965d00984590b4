"""Copies of credentials are stored for a new generation, and needed by a rollback to an older one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployd.errors import Refused
from deployd.files.workers import Workers
from deployd.rollout.release_reader import ReleaseReader
from deployd.state.credentials import Credentials
from deployd.state.disk import Disk
from tests.config.app_text import parse

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs a directory that only root can write")


@pytest.fixture
def file() -> Iterator[Path]:
    """Return a file in a directory that only root can write, unlike those below /tmp."""
    with TemporaryDirectory(prefix="deployd-test-", dir="/etc") as made:
        path = Path(made) / "token"
        path.write_text("one")
        yield path


def test_a_generation_is_made_of_what_was_read(file: Path, tmp_path: Path) -> None:
    async def main() -> None:
        store = Credentials(tmp_path, Disk())
        reader = ReleaseReader(Workers(), store)
        app = await reader.capture(parse(f'[service]\nLoadCredential = "token:{file}"'))
        [(_, digest)] = app.credentials
        assert not store.has("web", digest)
        file.write_text("two")
        with pytest.raises(Refused, match=f"{file} is not what it was for the generation of web, and there is no copy"):
            await reader.keep_credentials(app)
        file.write_text("one")
        await reader.keep_credentials(app)
        assert store.has("web", digest)
        file.unlink()
        await reader.keep_credentials(app)

    asyncio.run(main())
