"""Where a release goes: what the app file says, unless the command says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployd.errors import Refused
from deployd_cli.delivery.links import Link
from deployd_cli.delivery.target import Target

EMPTY: dict[str, Any] = {"app": "shop", "releases": None, "shared": [], "shared_directory": None, "keep": None}


def test_the_live_release_says_where_if_nothing_else_does() -> None:
    assert Target.of(EMPTY, "/srv/shop/v1") == Target("shop", Path("/srv/shop"))
    with pytest.raises(Refused, match="shop has no live release next to which this one could be; set releases"):
        Target.of(EMPTY, "")


def test_the_app_file_says_it_and_options_win() -> None:
    settings = EMPTY | {
        "releases": "/srv/shop/releases",
        "shared": ["log"],
        "shared_directory": "/srv/shop/shared",
        "build": 2,
        "keep": 5,
        "current": "/srv/shop/current",
        "user": "www-data",
    }
    links = (Link("log", "/srv/shop/shared/log"),)
    current = Path("/srv/shop/current")
    directory = Path("/srv/shop/releases")
    wanted = Target("shop", directory, links, builds=True, prune=True, current=current, user="www-data")
    assert Target.of(settings, "") == wanted
    found = Target.of(settings, "/x/v1", releases="/other", current="/live")
    assert (found.releases, found.current, found.shared) == (Path("/other"), Path("/live"), links)
