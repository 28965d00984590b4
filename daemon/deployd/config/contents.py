"""A digest of a release directory, which detects that a release was changed in place.

The digest covers what the app itself could not have written: the path, size and modification time of files, and the
path and target of symbolic links. Ignored are entries whose names start with a dot, ``__pycache__``, ``*.pyc``,
``*.pid``, ``*.log`` and ``*.sock``, entries that are neither a file nor a link, and everything owned by the app's user,
directories with all their contents, because that is the app's data. An app that runs as root is the exception: root
owns the code as well. Where the app's user owns files, what is certainly or likely code among them has digests of its
own (`own_code`).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from deployd.config.own_code import own_code
from deployd.config.release import is_there
from deployd.config.release_tree import walk_release
from deployd.config.source import printable
from deployd.errors import Refused
from deployd.files.walk import OWN, ROOT, user_name
from deployd.model import advice
from deployd.model.app import App
from deployd.model.generation import Generation

LIMIT = 20_000
"""Entries in the digest, those near the top first; the rest of a larger release is ignored."""

MOST_SEEN = 500_000
"""Entries that are read, ignored ones included; reading more would occupy a CPU for a single app."""
LEFTOVERS = (".pyc", ".pid", ".log", ".sock")


@dataclass(frozen=True, slots=True)
class Contents:
    digest: str
    """Equal if nothing covered by the digest has changed: the number of files, for human readers, and a digest; if the
    app's user owns files, also the digests of `own_code`. The parts are separated by colons."""
    files: int
    newest: tuple[str, float] | None = None
    """The most recently modified file: its path in the release and its time, in seconds since the epoch."""


def contents(release: str, app: App) -> Contents:
    """Return the contents of the directory `release`. Raises Refused if it cannot be read.

    Blocks, so it must not run in the event loop: it opens no file, but reads up to MOST_SEEN directory entries.
    """
    digest, files, newest, own = hashlib.sha256(), 0, None, user_id(app.user)

    def counts(entry: os.DirEntry[str], info: os.stat_result) -> bool:
        name = entry.name
        left_over = name.startswith(".") or name == "__pycache__" or name.endswith(LEFTOVERS)
        return info.st_uid != own and not left_over

    try:
        entries = walk_release(release, counts, limit=LIMIT, most=MOST_SEEN)
        for path, info, target in islice(entries, LIMIT):
            if stat.S_ISDIR(info.st_mode):
                continue
            files += 1
            what = os.fsencode(target) if target is not None else b"%d %d" % (info.st_size, info.st_mtime_ns)
            digest.update(b"%b\0%b\0" % (os.fsencode(path), what))
            if newest is None or info.st_mtime > newest[1]:
                newest = path, info.st_mtime
        more = next(entries, None) is not None
    except OSError as error:
        raise Refused(f"the release {release} cannot be read: {error.strerror or error}; correct that first") from None
    code = own_code(release, app, own) if own is not None else ""
    return Contents(f"{files}{'+' if more else ''}:{digest.hexdigest()[:32]}{code}", files, newest)


def refuse_changed(generation: Generation) -> None:
    """Raise Refused if the release of `generation` has changed since the rollout."""
    change = changed(generation)
    if change:
        name, release = generation.app, generation.release
        raise Refused(
            f"the release {release} has changed since generation {generation.number}: {change}; restore it, or run"
            f" {advice.deployd()} rollout {name} --release {release} to roll it out as it is now"
        )


def changed(generation: Generation) -> str:
    """Return a phrase about how the release differs from what it was when `generation` was made, "" if it does not.

    A directory that does not exist counts as unchanged. Raises Refused if it cannot be read.
    """
    if not generation.contents or not is_there(generation.release):
        return ""
    return difference(generation, contents(generation.release, generation.settings))


def difference(generation: Generation, now: Contents) -> str:
    """Return a phrase about how `now` differs from the contents of `generation`, "" if it does not or is unknown."""
    held, found = generation.contents.split(":"), now.digest.split(":")
    if held == [""]:
        return ""
    if held[:2] != found[:2]:
        return _listed(generation, held[0], now)
    if len(held) > 2 and len(found) > 2 and held[2] != found[2]:
        return f"code that belongs to user {generation.settings.user or user_name(OWN)} was changed"
    return ""


def _listed(generation: Generation, files: str, now: Contents) -> str:
    """Return a phrase about what differs of the files in the first digest, of which there were `files`."""
    if now.newest is not None and now.newest[1] > generation.started:
        when = datetime.fromtimestamp(now.newest[1], UTC).astimezone()
        return f"{printable(now.newest[0])} was changed on {when:%Y-%m-%d at %H:%M:%S}"
    if files != now.digest.partition(":")[0]:
        return f"it has {now.files} files instead of {files}"
    return "a file was replaced by an older file or one of a different size"


def user_id(user: str | None) -> int | None:
    """Return the user ID that owns the app's data; None if the app runs as root."""
    try:
        uid = OWN if user is None else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return None  # systemd reports that there is no such user
    return None if uid == ROOT else uid
