"""Which settings of a loaded unit are copied to a command, and which are refused rather than omitted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import SystemdError
from deployd.systemd.settings import COPIED, LIMITS, NOT_COPIED, copied, unknown

UNSET: dict[str, tuple[str, Any]] = {
    "User": ("s", ""),
    "NoNewPrivileges": ("b", False),
    "ReadOnlyPaths": ("as", []),
    "Delegate": ("b", False),
    "DelegateControllers": ("as", []),
    "PrivateTmp": ("b", False),
    "PrivateTmpEx": ("s", "no"),
    "SELinuxContext": ("(bs)", [False, ""]),
    "LimitNOFILE": ("t", 4096),
    "LimitNOFILESoft": ("t", 1024),
    "Slice": ("s", ""),
    "Type": ("s", "simple"),
    "MainPID": ("u", 0),
}


def of(bare: dict[str, tuple[str, Any]] | None = None, **loaded: Any) -> dict[str, tuple[str, Any]]:
    """Return what is copied from a unit with these values."""
    found = {name: (UNSET[name][0], value) for name, value in loaded.items()}
    return copied(UNSET | found, UNSET, UNSET | (bare or {}))


def test_defaults_and_settings_of_instances_only_are_not_copied() -> None:
    assert of() == {}
    assert of(Type="notify", MainPID=7, User="web") == {"User": ("s", "web")}


def test_limits_are_written_in_pairs_the_hard_one_first() -> None:
    assert list(of(LimitNOFILESoft=2048)) == ["LimitNOFILE", "LimitNOFILESoft"]


def test_of_two_names_for_a_setting_the_more_precise_is_used() -> None:
    assert of(Delegate=True, DelegateControllers=["memory"]) == {"DelegateControllers": ("as", ["memory"])}
    assert of(Delegate=True) == {"Delegate": ("b", True)}
    assert of(PrivateTmp=True, PrivateTmpEx="disconnected") == {"PrivateTmpEx": ("s", "disconnected")}


def test_a_selinux_context_is_written_in_another_form_than_read() -> None:
    """The "-", which allows it to fail, cannot be expressed."""
    assert of(SELinuxContext=[True, "web_t"]) == {"SELinuxContext": ("s", "web_t")}


def test_drop_ins_for_all_services_may_only_add() -> None:
    everywhere: dict[str, tuple[str, Any]] = {"ReadOnlyPaths": ("as", ["/opt"]), "User": ("s", "nobody")}
    same = of(everywhere, ReadOnlyPaths=["/opt", "/srv"], User="nobody")
    assert same["ReadOnlyPaths"] == ("as", ["/opt", "/srv"])
    for loaded in ({"ReadOnlyPaths": ["/srv"], "User": "nobody"}, {"ReadOnlyPaths": ["/opt"], "User": "web"}):
        with pytest.raises(SystemdError, match="a drop-in for all services sets"):
            of(everywhere, **loaded)
    with pytest.raises(SystemdError, match="sets User= otherwise"):
        of(everywhere, ReadOnlyPaths=["/opt"], User="")
    of({"Slice": ("s", "x.slice"), "LimitNOFILE": ("t", 1)}, Slice="y.slice")


def test_an_unknown_setting_is_reported_if_it_is_set() -> None:
    newer = {"ProtectTeapot": ("b", False), **UNSET}
    assert unknown(newer, newer) == []
    assert unknown(newer | {"ProtectTeapot": ("b", True)}, newer) == ["ProtectTeapot"]
    assert unknown({"ProtectTeapot": ("b", True)}, UNSET) == ["ProtectTeapot"]


def test_no_setting_is_in_both_tables() -> None:
    assert not COPIED & NOT_COPIED
    assert LIMITS < COPIED


values = st.one_of(st.booleans(), st.text(max_size=3), st.lists(st.text(max_size=3), max_size=3))


@given(st.dictionaries(st.sampled_from(sorted(COPIED - LIMITS - {"SELinuxContext"})), values))
def test_each_setting_is_copied_under_one_of_its_names(loaded: dict[str, Any]) -> None:
    typed = {name: ("v", value) for name, value in loaded.items()}
    found = copied(typed, {}, {})
    better = {name.removesuffix("Ex") for name in found} | ({"Delegate"} if "DelegateControllers" in found else set())
    assert typed.keys() <= found.keys() | better
    assert all(typed[name] == value for name, value in found.items())
