"""Where each file goes: the one list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from deployd.errors import DeploydError
from deployd.model.scope import Scope as UserScope


@dataclass(frozen=True, slots=True)
class Place:
    """A directory for the files that match a pattern."""

    pattern: str
    """A path in the checkout. * and the like are only in the name."""
    directory: str
    """With {placeholders} for `Scope.directories`."""
    name: str = ""
    """The name there; that of the source if it is left out."""


@dataclass(frozen=True, slots=True)
class Scope:
    """An installation of a kind: for the system, or for one user."""

    places: tuple[Place, ...]
    """The first that matches counts."""
    directories: Mapping[str, str]
    """The values of the placeholders."""
    empty: tuple[str, ...]
    """Directories that exist even if they have no files."""
    record: Path
    """Where setup keeps what it has installed."""
    user: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The directories of the checkout that have files for this scope."""
        return tuple(dict.fromkeys(str(PurePosixPath(place.pattern).parent) for place in self.places))

    @property
    def wrapper(self) -> str:
        """The path of the command, which units name."""
        return "{prefix}/bin/deployd".format_map(self.directories)

    def destination(self, source: str) -> str:
        """Return where a source goes. Raises DeploydError if no place matches."""
        for place in self.places:
            if fnmatchcase(source, place.pattern):
                directory = place.directory.format_map(self.directories)
                return f"{directory}/{place.name or PurePosixPath(source).name}"
        raise DeploydError(f"{source} has no place; add one to cli/deployd_cli/setup/places.py")

    def destinations(self, sources: Iterable[str]) -> dict[str, str]:
        """Return the destination of each source, ordered by destination."""
        found = {source: self.destination(source) for source in sources}
        return dict(sorted(found.items(), key=lambda item: item[1]))


UNITS = "{prefix}/lib/systemd/system"
SHARE = "{prefix}/share"
COLLECTION = (
    "plugins/modules",
    "plugins/module_utils",
    "roles/rollout/tasks",
    "roles/rollout/defaults",
    "roles/rollout/meta",
    "meta",
)
"""The directories of the Ansible collection."""
PLUGIN = ("lib/capistrano/deployd", "lib/capistrano/tasks", "lib/capistrano")
"""The directories of the Capistrano plugin."""
SYSTEM_PLACES = (
    # For the user managers of all users, who enable it. First, because * stands for / as well.
    Place("units/user/org.*.service", f"{SHARE}/dbus-1/services"),
    Place("units/user/*.service", "{prefix}/lib/systemd/user"),
    Place("units/org.*.service", f"{SHARE}/dbus-1/system-services"),
    Place("units/org.*.conf", f"{SHARE}/dbus-1/system.d"),
    Place("units/org.*.xml", f"{SHARE}/dbus-1/interfaces"),
    Place("units/org.*.policy", f"{SHARE}/polkit-1/actions"),
    *(Place(f"units/*.{suffix}", UNITS) for suffix in ("service", "socket", "target", "slice", "timer")),
    Place("packaging/preset/*.preset", "{prefix}/lib/systemd/system-preset"),
    Place("packaging/sysusers/*.conf", "{prefix}/lib/sysusers.d"),
    Place("packaging/catalog/*.catalog", "{prefix}/lib/systemd/catalog"),
    Place("integrations/*", f"{SHARE}/deployd/integrations"),
    Place("packaging/examples/*", f"{SHARE}/deployd/examples"),
    Place("packaging/grafana/*", f"{SHARE}/deployd/grafana"),
    *(Place(f"packaging/ansible/{part}/*", f"{SHARE}/deployd/ansible/{part}") for part in COLLECTION),
    Place("packaging/ansible/*", f"{SHARE}/deployd/ansible"),
    *(Place(f"packaging/capistrano/{part}/*", f"{SHARE}/deployd/capistrano/{part}") for part in PLUGIN),
    Place("packaging/capistrano/*", f"{SHARE}/deployd/capistrano"),
    Place("packaging/cockpit/*", f"{SHARE}/cockpit/deployd"),
    Place("packaging/completions/deployd.bash", f"{SHARE}/bash-completion/completions", "deployd"),
    Place("packaging/completions/*.fish", f"{SHARE}/fish/vendor_completions.d"),
    Place("packaging/completions/_*", f"{SHARE}/zsh/vendor-completions"),
    *(Place(f"packaging/man/*.{section}", f"{SHARE}/man/man{section}") for section in (1, 5, 8)),
)


USER_PLACES = (
    Place("units/user/org.*.service", "{data}/dbus-1/services"),
    Place("units/user/*.service", "{data}/systemd/user"),
    Place("integrations/*", "{data}/deployd/integrations"),
    Place("packaging/completions/deployd.bash", "{data}/bash-completion/completions", "deployd"),
    Place("packaging/completions/*.fish", "{data}/fish/vendor_completions.d"),
    Place("packaging/completions/_*", "{data}/zsh/site-functions"),
    *(Place(f"packaging/man/*.{section}", f"{{data}}/man/man{section}") for section in (1, 5, 8)),
)


def system(prefix: str = "/usr") -> Scope:
    """Return the installation for the system. dbus-daemon and polkit read system.d and actions below /usr only."""
    return Scope(SYSTEM_PLACES, {"prefix": prefix}, ("/etc/deployd/apps",), Path("/var/lib/deployd/setup.json"))


def of_user(scope: UserScope) -> Scope:
    """Return the installation for a user manager, in the home directory of that user."""
    return Scope(
        USER_PLACES,
        {"prefix": str(scope.data / "deployd"), "data": str(scope.data)},
        (str(scope.apps),),
        scope.data / "deployd/setup.json",
        user=True,
    )
