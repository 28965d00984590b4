"""Deletes release directories, also where another user could replace a directory on the way by a symbolic link."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from deployd.errors import DeploydError
from deployd_cli import directories
from deployd_cli.text.words import dicts_of

ROOT = PurePosixPath("/")


def delete_free(answer: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Delete the releases that may be deleted, according to the JSON of `deployd releases`; return those that were, and
    sentences about those that could not be."""
    deleted, problems = [], []
    for path in (str(item["release"]) for item in dicts_of(answer, "releases") if item.get("deletable") is True):
        try:
            delete(path)
        except DeploydError as error:
            problems.append(str(error))
        else:
            deleted.append(path)
    return deleted, problems


def delete(release: str) -> None:
    """Delete a release, an absolute path without links. Raises DeploydError.

    It is renamed first, so that no rollout finds half of it if this is interrupted. The next call for a release of the
    same name deletes the rest.
    """
    path = PurePosixPath(release)
    hidden = f".{path.name}.deleted"
    try:
        with directories.opened(ROOT, path.parent.relative_to(ROOT)) as parent:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(hidden, dir_fd=parent)
            os.rename(path.name, hidden, src_dir_fd=parent, dst_dir_fd=parent)
            shutil.rmtree(hidden, dir_fd=parent)
    except OSError as error:
        raise DeploydError(f"{release} cannot be deleted: {error.strerror or error}") from None
