"""Which settings of a loaded unit a command is made with, and what is refused rather than left out."""

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
    """What is copied of a unit with these values."""
    found = {name: (UNSET[name][0], value) for name, value in loaded.items()}
    return copied(UNSET | found, UNSET, UNSET | (bare or {}))


def test_what_nobody_sets_and_what_is_the_instances_own_is_not_copied() -> None:
    assert of() == {}
    assert of(Type="notify", MainPID=7, User="web") == {"User": ("s", "web")}


def test_limits_come_in_pairs_the_hard_one_first() -> None:
    assert list(of(LimitNOFILESoft=2048)) == ["LimitNOFILE", "LimitNOFILESoft"]


def test_of_two_names_for_one_setting_the_better_is_taken() -> None:
    assert of(Delegate=True, DelegateControllers=["memory"]) == {"DelegateControllers": ("as", ["memory"])}
    assert of(Delegate=True) == {"Delegate": ("b", True)}
    assert of(PrivateTmp=True, PrivateTmpEx="disconnected") == {"PrivateTmpEx": ("s", "disconnected")}


def test_a_context_is_written_in_another_shape_than_it_is_read() -> None:
    """That it may be missing cannot be said: then it may not."""
    assert of(SELinuxContext=[True, "web_t"]) == {"SELinuxContext": ("s", "web_t")}


def test_what_all_services_have_may_only_add() -> None:
    everywhere: dict[str, tuple[str, Any]] = {"ReadOnlyPaths": ("as", ["/opt"]), "User": ("s", "nobody")}
    same = of(everywhere, ReadOnlyPaths=["/opt", "/srv"], User="nobody")
    assert same["ReadOnlyPaths"] == ("as", ["/opt", "/srv"])
    for loaded in ({"ReadOnlyPaths": ["/srv"], "User": "nobody"}, {"ReadOnlyPaths": ["/opt"], "User": "web"}):
        with pytest.raises(SystemdError, match="a drop-in for all services sets"):
            of(everywhere, **loaded)
    with pytest.raises(SystemdError, match="sets User= otherwise"):
        of(everywhere, ReadOnlyPaths=["/opt"], User="")
    of({"Slice": ("s", "x.slice"), "LimitNOFILE": ("t", 1)}, Slice="y.slice")


def test_what_nobody_knows_is_told_if_it_is_set() -> None:
    newer = {"ProtectTeapot": ("b", False), **UNSET}
    assert unknown(newer, newer) == []
    assert unknown(newer | {"ProtectTeapot": ("b", True)}, newer) == ["ProtectTeapot"]
    assert unknown({"ProtectTeapot": ("b", True)}, UNSET) == ["ProtectTeapot"]


def test_the_tables_are_apart() -> None:
    assert not COPIED & NOT_COPIED
    assert LIMITS < COPIED


values = st.one_of(st.booleans(), st.text(max_size=3), st.lists(st.text(max_size=3), max_size=3))


@given(st.dictionaries(st.sampled_from(sorted(COPIED - LIMITS - {"SELinuxContext"})), values))
def test_each_that_differs_is_there_itself_or_by_its_better_name(loaded: dict[str, Any]) -> None:
    typed = {name: ("v", value) for name, value in loaded.items()}
    found = copied(typed, {}, {})
    better = {name.removesuffix("Ex") for name in found} | ({"Delegate"} if "DelegateControllers" in found else set())
    assert typed.keys() <= found.keys() | better
    assert all(typed[name] == value for name, value in found.items())
