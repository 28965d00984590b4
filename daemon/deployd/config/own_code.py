"""Code that belongs to the user of the app, as it does where a deploy is ``git pull`` or rsync by that user.

The app could have written these files itself, and most of what it writes is data. So there are two digests. What
is certainly code: the commit of a git checkout, and the programs and scripts in `exec`. A generation starts from it,
as from the files of other users. And what is likely code, by its name: a change of it is rolled out instead of
adopted, which does no harm where the app has written it, and refuses nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress

from deployd.config.release_tree import walk_release
from deployd.files.walk import LinkOwners, no_links, trusted_links, walk
from deployd.model.app import App

LIMIT = 20_000
"""Files in the digest of what is likely code."""
MOST_SEEN = 100_000
"""Entries that are read for it."""
SUFFIXES = (
    *(".cfg", ".cjs", ".class", ".clj", ".cr", ".css", ".erb", ".ex", ".exs", ".go", ".haml", ".hbs", ".html"),
    *(".j2", ".jar", ".java", ".jinja", ".jinja2", ".js", ".jsx", ".kt", ".liquid", ".lock", ".lua", ".mjs", ".mo"),
    *(".php", ".pl", ".pm", ".py", ".rb", ".rs", ".ru", ".scala", ".sh", ".slim", ".so", ".toml", ".ts", ".tsx"),
    *(".twig", ".vue", ".war", ".wasm", ".yaml", ".yml"),
)
DATA = frozenset(
    ("__pycache__", "cache", "data", "log", "logs", "media", "public", "sessions", "storage", "tmp", "uploads", "var")
)
"""Directories in which apps write, also files that look like code: compiled templates, assets, uploads."""
LONGEST_HEAD = 4096
LONGEST_REFERENCES = 1 << 20


def own_code(release: str, app: App, user: int) -> str:
    """Return both digests, each after a colon, or "" if there is no such code. Blocks.

    `user` is the ID of the app's user. What is only likely counts where the release itself belongs to that user.
    """
    certain, likely = _certain(release, app, user), _likely(release, user)
    return f":{_hash(certain)}:{_hash(likely)}" if certain or likely else ""


def _certain(release: str, app: App, user: int) -> list[str]:
    commit = _commit(release, user)
    found = [commit] if commit else []
    for number, word in enumerate(app.exec):
        with suppress(OSError, ValueError), walk(os.path.join(release, word), LinkOwners()) as file:  # noqa: PTH118
            info = file.info
            is_code = number == 0 or word.endswith(SUFFIXES) or bool(info.st_mode & 0o111)
            if is_code and file.is_file and info.st_uid == user:
                found.append(f"{word} {info.st_size} {info.st_mtime_ns}")
    return found


def _likely(release: str, user: int) -> list[str]:
    found: list[str] = []

    def counts(entry: os.DirEntry[str], info: os.stat_result) -> bool:
        if stat.S_ISDIR(info.st_mode):
            return not entry.name.startswith(".") and entry.name not in DATA
        return info.st_uid == user and entry.name.endswith(SUFFIXES)

    with suppress(OSError):  # too many entries, or they are being replaced
        with walk(release, trusted_links) as top:
            if top.info.st_uid != user:
                return []
        for path, info, _ in walk_release(release, counts, limit=LIMIT, most=MOST_SEEN):
            if not stat.S_ISDIR(info.st_mode):
                found.append(f"{path} {info.st_size} {info.st_mtime_ns}")
            if len(found) == LIMIT:
                break
    return found


def _commit(release: str, user: int) -> str:
    """Return the commit that is checked out in a git repository of this user at the top of the release, or ""."""
    head = _text(f"{release}/.git/HEAD", user, LONGEST_HEAD).strip()
    reference = re.fullmatch(r"ref: (refs/[\w./-]+)", head)
    if reference is None or ".." in reference[1]:
        return head
    commit = _text(f"{release}/.git/{reference[1]}", user, LONGEST_HEAD).strip()
    packed = re.search(
        rf"^([0-9a-f]+) {re.escape(reference[1])}$",
        "" if commit else _text(f"{release}/.git/packed-refs", user, LONGEST_REFERENCES),
        re.MULTILINE,
    )
    return commit or (packed[1] if packed else head)


def _text(path: str, user: int, longest: int) -> str:
    """Return the beginning of a regular file of this user; "" if there is none."""
    release, _, inside = path.partition("/.git/")
    try:
        with walk(release, trusted_links) as top, walk(f"{top.path}/.git/{inside}", no_links) as file:
            if not file.is_file or file.info.st_uid != user:
                return ""
            with os.fdopen(file.reopen(), "rb") as opened:
                return opened.read(longest).decode("latin-1")
    except OSError:
        return ""


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]
