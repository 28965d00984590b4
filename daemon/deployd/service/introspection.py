"""What stands on every D-Bus object beside our own interfaces: introspection, properties, peer. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from deployd.bus import BusError

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
"""What the standard methods take (D-Bus specification, standard interfaces)."""

_STANDARD = f"""
<interface name="{INTROSPECTABLE}"><method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
</interface><interface name="{PROPERTIES}">
<method name="Get"><arg name="interface" type="s" direction="in"/><arg name="property" type="s" direction="in"/>
<arg name="value" type="v" direction="out"/></method>
<method name="GetAll"><arg name="interface" type="s" direction="in"/>
<arg name="properties" type="a{{sv}}" direction="out"/></method>
<signal name="PropertiesChanged"><arg name="interface" type="s"/><arg name="changed" type="a{{sv}}"/>
<arg name="invalidated" type="as"/></signal></interface>"""


def check_signature(path: str, member: str, given: str, wanted: str) -> None:
    """Raise BusError unless a method is called with the types that it takes."""
    if given != wanted:
        raise BusError(
            "org.freedesktop.DBus.Error.InvalidArgs",
            f'{member} takes "{wanted}", not "{given}" (busctl introspect org.deployd1 {path})',
        )


def unknown_method(path: str, interface: str, member: str) -> BusError:
    return BusError("org.freedesktop.DBus.Error.UnknownMethod", f"{path} has no {interface}.{member}")


def node(children: Iterable[str], interface: ElementTree.Element | None = None) -> str:
    """The introspection data of an object with `children` and, if it has one, an interface of ours."""
    body = "" if interface is None else ElementTree.tostring(interface, encoding="unicode") + _STANDARD
    return "<node>" + body + "".join(f'<node name="{child}"/>' for child in children) + "</node>"
