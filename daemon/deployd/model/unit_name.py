"""Names of units, made and taken apart.

| unit | name |
|---|---|
| the app unit, which starts all pinned instances | NAME.service |
| an instance | NAME@N.service |
| a listening socket that all instances share | NAME.socket, NAME:2.socket, … |
| the service that a later shared socket starts | NAME:2.service, … |
| the listening socket of one instance | NAME@N.socket |
| the service that this socket starts | NAME:start@N.service |
| the UNIX socket of a generation | NAME:unix@G.socket |
| the service that this socket starts | NAME:start@unix-G.service |
| the private socket on which an instance is probed | NAME:probe@N.socket |
| the private address of a preview | NAME:preview.socket |
| what passes on the connections there | NAME:preview.service |
| a smoke test | NAME:smoke.service |
| a hook | NAME:hook.service |
| a hook that reports something | NAME:notification.service |
| the analysis of a rollout | NAME:analysis.service |
| a command of `deployd run` | NAME:run-LABEL.service |
| a timer | NAME:TIMER.timer |
| what it starts | NAME:TIMER.service |
| the build of a release | NAME:build.service |
| what is failed while the app is down | NAME:health.service |
| a run of a probe that is a command | NAME:probe-N-LABEL.service |

The name of an app contains neither ":" nor "@", so that each of these names belongs to one app. Where a number is
expected, ``%i`` stands for it in the text of a template unit, ``*`` in a pattern (fnmatch(3)), and "" gives the name of
the template unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = "([1-9][0-9]*)"


def app(unit: str) -> str:
    """Return the name of the app to which `unit` belongs, if it belongs to one."""
    return re.split("[@:]", unit.rpartition(".")[0], maxsplit=1)[0]


def app_unit(app: str) -> str:
    """Return the name of the app unit."""
    return f"{app}.service"


def instance(app: str, number: int | str) -> str:
    """Return the name of an instance's unit."""
    return f"{app}@{number}.service"


def template(app: str) -> str:
    """Return the name of the template unit of the instances."""
    return instance(app, "")


def instance_number(app: str, unit: str) -> int | None:
    """Return the number of the instance of `app` that is called `unit`, or None if it is no instance of this app."""
    return _number(f"{app}@", unit, ".service")


def instance_numbers(app: str, text: str) -> list[int]:
    """Return the numbers of the instances of `app` that `text` names, separated by spaces or "="."""
    return [int(number) for number in re.findall(rf"(?<![^\s=]){re.escape(app)}@{_NUMBER}\.service(?!\S)", text)]


def belongs_to_instances(app: str, unit: str) -> bool:
    """True if `unit` is an instance of `app`, the listening socket of one, or the UNIX socket of a generation."""
    return unit.startswith((f"{app}@", generation_socket(app, "").removesuffix(".socket")))


def listens_for(app: str, unit: str) -> bool:
    """True if `unit` is an instance of `app` or has a listening socket for instances open."""
    return belongs_to_instances(app, unit) or shared_socket_count(app, unit) is not None


def is_instance(unit: str) -> bool:
    """True if `unit` is called as an instance of an app."""
    return re.fullmatch(rf"[^@:]+@{_NUMBER}\.service", unit) is not None


def app_of_template(unit: str) -> str | None:
    """Return the app whose instances have the template `unit`, or None for any other unit."""
    app = unit.removesuffix(template(""))
    return None if app == unit else app


def shared_socket(app: str, count: int = 1) -> str:
    """Return the name of the `count`-th shared socket, from 1."""
    return f"{app}.socket" if count == 1 else f"{app}:{count}.socket"


def shared_socket_count(app: str, unit: str) -> int | None:
    """Return which shared socket of `app` is called `unit`, from 1, or None if it is no such socket."""
    if unit == shared_socket(app):
        return 1
    found = _number(f"{app}:", unit, ".socket")
    return None if found == 1 else found


def service_of(socket: str) -> str:
    """Return the service with the name of a socket unit, which it starts by default (systemd.socket(5), Service=)."""
    return f"{socket.removesuffix('.socket')}.service"


def socket_of(service: str) -> str:
    """Return the socket unit with the name of a service; the inverse of `service_of`."""
    return f"{service.removesuffix('.service')}.socket"


def instance_socket(app: str, number: int | str) -> str:
    """Return the name of the listening socket of one instance."""
    return f"{app}@{number}.socket"


def instance_socket_number(app: str, unit: str) -> int | None:
    """Return the number of the instance whose listening socket is called `unit`, or None if it is no such socket."""
    return _number(f"{app}@", unit, ".socket")


def instance_socket_starter(app: str, number: int | str) -> str:
    """Return the name of the service that a connection to the listening socket of one instance starts.

    Not the instance: a waiting connection would start it again while it is replaced in place. Not the app unit: it is
    active when an instance is added, and systemd refuses to open a socket whose service is active (EBUSY).
    """
    return f"{app}:start@{number}.service"


def generation_socket(app: str, number: int | str) -> str:
    """Return the name of the UNIX socket that generation `number` was the first to have."""
    return f"{app}:unix@{number}.socket"


def generation_socket_number(app: str, unit: str) -> int | None:
    """Return the number of the UNIX socket of a generation that is called `unit`, or None if it is no such socket."""
    return _number(f"{app}:unix@", unit, ".socket")


def generation_socket_starter(app: str, number: int | str) -> str:
    """Return the name of the service that a connection to the UNIX socket of a generation starts; see above."""
    return instance_socket_starter(app, f"unix-{number}")


def probe_socket(app: str, number: int | str) -> str:
    """Return the name of the private socket of an instance."""
    return f"{app}:probe@{number}.socket"


def preview_socket(app: str) -> str:
    """Return the name of the socket at which a preview is reached."""
    return f"{app}:preview.socket"


def probe_command(app: str, number: int, label: str) -> str:
    """Return the name of the transient unit that probes an instance by a command."""
    return labelled(app, f"probe-{number}-{label}")


def drain_command(app: str, number: int) -> str:
    """Return the name of the transient unit that has the clients of an instance leave."""
    return labelled(app, f"drain-{number}")


def hook(app: str) -> str:
    """Return the name of the transient unit of a hook."""
    return labelled(app, "hook")


def notification(app: str) -> str:
    """Return the name of the transient unit of a hook that reports something."""
    return labelled(app, "notification")


def run(app: str, label: str) -> str:
    """Return the name of the transient unit of a command that a user runs."""
    return labelled(app, f"run-{label}")


def build(app: str) -> str:
    """Return the name of the transient unit that builds a release."""
    return labelled(app, "build")


def analysis(app: str) -> str:
    """Return the name of the transient unit of the analysis."""
    return labelled(app, "analysis")


def smoke(app: str) -> str:
    """Return the name of the transient unit of a smoke test."""
    return labelled(app, "smoke")


def health(app: str) -> str:
    """Return the name of the transient unit that is failed while the app is down."""
    return labelled(app, "health")


def timer(app: str, name: str) -> str:
    """Return the name of the unit of a timer."""
    return f"{app}:{name}.timer"


def timer_service(app: str, name: str) -> str:
    """Return the name of the service that a timer starts, as it does by default (systemd.timer(5), Unit=)."""
    return labelled(app, name)


def service_of_timer(timer: str) -> str:
    """Return the service that a timer unit starts."""
    return f"{timer.removesuffix('.timer')}.service"


def timer_name(app: str, unit: str) -> str | None:
    """Return the name of the timer of `app` to which a unit file belongs, or None if it belongs to none."""
    found = re.fullmatch(rf"{re.escape(app)}:([a-z][a-z0-9-]*)\.(?:timer|service)", unit)
    return found[1] if found else None


def is_taken(name: str) -> bool:
    """True if a timer of this name would have the name of another unit of its app."""
    labels = ("address", "analysis", "build", "health", "hook", "notification", "preview")
    return name in labels or name.startswith(("deployd", "drain-", "probe-", "run-"))


def labelled(app: str, label: str) -> str:
    """Return the name of a service that is neither an instance nor started by a socket."""
    return f"{app}:{label}.service"


def label(unit: str) -> str:
    """Return what a service has after ":" or "@" in its name, or "" for a name without either."""
    found = re.fullmatch(r".*[@:]([^@:]*)\.service", unit)
    return found[1] if found else ""


def patterns(app: str) -> list[str]:
    """Return the patterns that match all units of an app, and of no other."""
    return [shared_socket(app), app_unit(app), f"{app}@*", f"{app}:*"]


def common_patterns(units: Iterable[str]) -> list[str]:
    """Return patterns that match all of these units: one for all units of a template."""
    return sorted({re.sub(rf"@{_NUMBER}\.", "@*.", unit) for unit in units})


def is_socket(unit: str) -> bool:
    """True for a socket unit."""
    return unit.endswith(".socket")


def is_timer(unit: str) -> bool:
    """True for a timer unit."""
    return unit.endswith(".timer")


def is_service(unit: str) -> bool:
    """True for a service."""
    return unit.endswith(".service")


def path_encode(label: str) -> str:
    """Encode a string for use as the last element of a D-Bus object path (sd_bus_path_encode(3))."""
    encoded = re.sub(
        rb"\A[0-9]|[^A-Za-z0-9]", lambda byte: b"_%02x" % ord(byte[0]), label.encode(errors="surrogateescape")
    )
    return encoded.decode("ascii") or "_"


def path_decode(label: str) -> str:
    """Decode the last element of an object path; what `path_encode` does not produce is left as it is."""
    return re.sub(r"(?:_[0-9a-f]{2})+", _bytes, "" if label == "_" else label)


def _bytes(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("_", "")).decode(errors="replace")


def _number(before: str, unit: str, after: str) -> int | None:
    """Return the number between these parts of a name: without a pattern for each app, because this is called often."""
    if not (unit.startswith(before) and unit.endswith(after)):
        return None
    found = re.fullmatch(_NUMBER, unit[len(before) : -len(after)])
    return int(found[1]) if found else None
