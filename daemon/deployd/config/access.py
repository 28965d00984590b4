"""What systemd would fail at when it starts an instance: its user and group, and what that user may reach and run.

Computed as the kernel does (`files.permission`), and refused only where that is certain: nothing is said of an app
whose user or view of the file system depends on other settings (FAR_REACHING), or on drop-ins. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from deployd.config.output_files import doubtful_outputs
from deployd.config.release import programs
from deployd.config.release_link import LONGEST_LINE, beginning, require_own_programs
from deployd.config.source import one_line
from deployd.errors import Refused
from deployd.files.path_access import PathAccess
from deployd.files.permission import EXECUTE
from deployd.files.walk import OWN, ROOT, user_name
from deployd.model import scope, unit_name
from deployd.model.app import App
from deployd.model.scope import SYSTEM

FAR_REACHING = frozenset(
    {
        *("AmbientCapabilities", "BindPaths", "BindReadOnlyPaths", "CapabilityBoundingSet", "ExecPaths"),
        *("ExtensionDirectories", "ExtensionImages", "MountImages", "PAMName", "PermissionsStartOnly", "PrivateUsers"),
        *("ReadOnlyPaths", "SecureBits", "SupplementaryGroups", "TemporaryFileSystem"),
    }
)
"""Directives of [service] that change users, permissions or mounts."""
UNIT_DIRECTORIES = (SYSTEM if OWN == ROOT else scope.of_process()).all_units
"""Directories of units and of their drop-ins."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of a service (systemd.exec(5), "Environment Variables in Spawned Processes")."""
ENV = "/usr/bin/env"


@dataclass(frozen=True, slots=True)
class _User:
    """The user of an app's instances."""

    name: str
    access: PathAccess


def require_runnable(app: App, release: str) -> tuple[str, ...]:
    """Return sentences about what may be of another release than `release`, and what else may fail.

    Raises Refused for what certainly is, and if its instances could certainly not be started as the app's user.
    """
    found = _checked(app, release)
    for timer in app.timers:
        try:
            own = _checked(app.of_timer(timer), release)
        except Refused as error:
            raise Refused(f"process.{timer.name}: {error}") from None
        found += tuple(f"process.{timer.name}: {sentence}" for sentence in own if sentence not in found)
    return found


def _checked(app: App, release: str) -> tuple[str, ...]:
    _require_access(app, release)
    return (*doubtful_outputs(app), *require_own_programs(app, release))


def _require_access(app: App, release: str) -> None:
    set_there = {key for key, _ in app.service}
    if "DynamicUser" in set_there or _has_drop_ins(app.name):
        return
    user = _user(app)
    if not FAR_REACHING.isdisjoint(set_there):
        return
    for directory in (*reversed(Path(release).parents), Path(release)):
        if not _may_search(user, str(directory)):
            raise Refused(
                f"user {user.name} of {app.name} cannot enter {directory}, so no instance could start in {release};"
                f" correct the permissions of {directory}"
            )
    for key, program in programs(app, release).items():
        if reason := _not_runnable(app, user, program):
            raise Refused(one_line(f"{key} of {app.name} names {program}, {reason}"))


def _user(app: App) -> _User:
    """Return the user, with its groups. Raises Refused if user or group do not exist."""
    gid = None if app.group is None else _group(app, app.group)
    if app.pace.preview_group:
        _group(app, app.pace.preview_group, "preview_group")
    if app.user is None:
        return _own_user(gid)
    if app.user.isdecimal():
        uid, own, groups = int(app.user), None, list[int]()
        with contextlib.suppress(KeyError):
            entry = pwd.getpwuid(uid)
            own, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    else:
        try:
            entry = pwd.getpwnam(app.user)
        except KeyError:
            raise Refused(
                f'user of {app.name} is "{app.user}", and this machine has no such user; create it or correct user'
            ) from None
        uid, own, groups = entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    first = {item for item in (own if gid is None else gid,) if item is not None}
    return _User(app.user, PathAccess(uid, frozenset(groups) | first))


def _own_user(gid: int | None) -> _User:
    """Return the user as which deployd runs, and so does an app without `user`."""
    if OWN == ROOT:
        return _User("root", PathAccess(ROOT, frozenset({gid or 0})))
    return _User(user_name(OWN), PathAccess(OWN, frozenset({os.getgid(), *os.getgroups()})))


def _group(app: App, name: str, key: str = "group") -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused(
            f'{key} of {app.name} is "{name}", and this machine has no such group; create it or correct {key}'
        ) from None


def _may_search(user: _User, directory: str) -> bool:
    """True if the user may enter the directory, or if that cannot be found out."""
    try:
        return user.access.permits(user.access.find(directory).inode, EXECUTE)
    except PermissionError:
        return False
    except OSError:
        return True  # resolve_release reports it


def _not_runnable(app: App, user: _User, program: str) -> str:
    """Return why the user cannot run a program that exists, as the end of a sentence, or ""."""
    if reason := _not_executable(user, program):
        return reason
    head = beginning(program)
    if not head.startswith("#!"):
        return ""
    if not user.access.may_read(program):
        return f"a script that user {user.name} may not read; correct its permissions"
    line = head[2:LONGEST_LINE].split("\n", 1)[0]
    if line.endswith("\r"):
        return "a script whose #! line ends in a carriage return, which is taken for a part of the interpreter's name"
    words = line.split()
    if not words or not words[0].startswith("/"):
        return ""
    try:
        user.access.find(words[0])
    except OSError as error:
        return f"a script whose #! line names {words[0]}: {error.strerror}; install it or correct that line"
    if reason := _not_executable(user, words[0]):
        return f"a script whose #! line names {words[0]}, {reason}"
    if words[0] == ENV and len(words) == 2 and not app.environment_files and not _is_found(app, user, words[1]):
        return f"a script whose #! line names {words[1]}, which PATH does not lead to; install it or correct that line"
    return ""


def _not_executable(user: _User, program: str) -> str:
    try:
        found = user.access.find(program)
        noexec = os.statvfs(found.path).f_flag & os.ST_NOEXEC
    except PermissionError:
        return f"which user {user.name} cannot reach; correct the permissions of the directories above it"
    except OSError:
        return ""  # resolve_release reports it
    if not user.access.permits(found.inode, EXECUTE):
        return f"which user {user.name} may not execute; correct its permissions"
    return "which is on a file system that is mounted noexec; move it or mount that otherwise" if noexec else ""


def _is_found(app: App, user: _User, name: str) -> bool:
    path = dict(app.environment).get("PATH", DEFAULT_PATH)
    for directory in path.split(":"):
        with contextlib.suppress(OSError):
            found = user.access.find(f"{directory}/{name}")
            if not found.is_directory and user.access.permits(found.inode, EXECUTE):
                return True
    return not path.startswith("/")


def _has_drop_ins(name: str) -> bool:
    return any(os.path.lexists(directory / f"{unit_name.template(name)}.d") for directory in UNIT_DIRECTORIES)
