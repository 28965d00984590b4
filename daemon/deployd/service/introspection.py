"""The names, paths and description of org.deployd1, and the standard interfaces that each object has as well:
Introspectable, Properties and Peer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from deployd.bus import BusError
from deployd.model import unit_name

NAME = "org.deployd1"
ROOT = "/org/deployd1"
APPS = f"{ROOT}/app"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"

_HERE = Path(__file__).resolve()
_XML = (_HERE.parents[1] / "org.deployd1.xml", _HERE.parents[3] / "units" / "org.deployd1.xml")

INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PROPERTIES = "org.freedesktop.DBus.Properties"
PEER = "org.freedesktop.DBus.Peer"

SIGNATURES = {
    (INTROSPECTABLE, "Introspect"): "",
    (PROPERTIES, "Get"): "ss",
    (PROPERTIES, "GetAll"): "s",
    (PROPERTIES, "Set"): "ssv",
    (PEER, "Ping"): "",
    (PEER, "GetMachineId"): "",
}
"""Signatures of the standard methods (D-Bus specification, standard interfaces)."""

_STANDARD = f"""
<interface name="{INTROSPECTABLE}"><method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
</interface><interface name="{PROPERTIES}">
<method name="Get"><arg name="interface" type="s" direction="in"/><arg name="property" type="s" direction="in"/>
<arg name="value" type="v" direction="out"/></method>
<method name="GetAll"><arg name="interface" type="s" direction="in"/>
<arg name="properties" type="a{{sv}}" direction="out"/></method>
<signal name="PropertiesChanged"><arg name="interface" type="s"/><arg name="changed" type="a{{sv}}"/>
<arg name="invalidated" type="as"/></signal></interface>"""


def app_path(app: str) -> str:
    """Return the object path of an app."""
    return f"{APPS}/{unit_name.path_encode(app)}"


def description() -> str:
    """Return org.deployd1.xml, as installed or in the source tree. Raises FileNotFoundError."""
    for path in _XML:
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"org.deployd1.xml is in none of {', '.join(map(str, _XML))}")


def check_signature(path: str, member: str, given: str, wanted: str) -> None:
    """Raise BusError unless a method is called with the types of its arguments."""
    if given != wanted:
        raise BusError(
            "org.freedesktop.DBus.Error.InvalidArgs",
            f'{member} takes "{wanted}", not "{given}" (busctl introspect org.deployd1 {path})',
        )


def unknown_method(path: str, interface: str, member: str) -> BusError:
    """Return the error for a method that an object does not have."""
    return BusError("org.freedesktop.DBus.Error.UnknownMethod", f"{path} has no {interface}.{member}")


def node(children: Iterable[str], interface: ElementTree.Element | None = None) -> str:
    """Return the introspection data of an object with `children` and, if it has one, an interface of org.deployd1."""
    body = "" if interface is None else ElementTree.tostring(interface, encoding="unicode") + _STANDARD
    return "<node>" + body + "".join(f'<node name="{child}"/>' for child in children) + "</node>"
