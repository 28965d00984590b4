"""The default restrictions of instances, and how [service] lifts each of them."""

from __future__ import annotations

import pytest

from deployd import config
from deployd.model.app import App
from deployd.units.text import unit_files
from deployd.units.text.hardening import hardening

FILE = 'release = "/srv/web"\nexec = ["bin/web"]\nlisten = ["8080"]\n'


def parse(top: str = "", service: str = "") -> App:
    return config.parse("web", f"{FILE}{top}\n[service]\n{service}", "web.toml")


def unit(app: App) -> list[str]:
    (text,) = (unit.text for unit in unit_files(app, 1, "/var/lib/deployd") if unit.name == "web@.service")
    return text.splitlines()


def names(app: App) -> set[str]:
    return {name for name, _ in hardening(app)}


def test_only_root_keeps_its_capabilities() -> None:
    assert ("CapabilityBoundingSet", "") in hardening(parse('user = "www-data"'))
    assert ("CapabilityBoundingSet", "") in hardening(parse(service="DynamicUser = true"))
    for top in ("", 'user = "root"', "user = 0"):
        assert "CapabilityBoundingSet" not in names(parse(top))
    ambient = parse('user = "www-data"', 'AmbientCapabilities = "CAP_NET_RAW"')
    assert "CapabilityBoundingSet" not in names(ambient)


@pytest.mark.parametrize(("name", "value"), list(hardening(parse('user = "www-data"'))))
def test_the_app_file_has_precedence(name: str, value: str) -> None:
    """Also with an empty value."""
    app = parse('user = "www-data"')
    assert f"{name}={value}" in unit(app)
    for other in ("no", "yes", ""):
        said = [line for line in unit(parse('user = "www-data"', f'{name} = "{other}"')) if line.startswith(f"{name}=")]
        assert said == [f"{name}={other}"]


def test_new_privileges_rule_out_settings_that_imply_none() -> None:
    """systemd.exec(5): where the user is not root, filters of system calls imply NoNewPrivileges=."""
    left = names(parse('user = "www-data"', "NoNewPrivileges = false"))
    assert left == {"ProtectControlGroups", "ProtectProc"}


@pytest.mark.parametrize("service", ["PrivateDevices = false", 'DeviceAllow = "/dev/kvm"', 'DevicePolicy = "auto"'])
def test_an_app_with_devices_has_no_restriction_of_devices(service: str) -> None:
    """ProtectClock= allows one device, which denies all others."""
    assert not {"PrivateDevices", "ProtectClock"} & names(parse(service=service))


def test_delegated_control_groups_are_writable() -> None:
    assert "ProtectControlGroups" not in names(parse(service="Delegate = true"))
