"""Every file of the checkout that is installed has one place, and the list has no place twice."""

from __future__ import annotations

import pytest

from deployd.errors import DeploydError
from deployd_cli.setup import places, sources
from tests.docs.readme import CHECKOUT

SYSTEM = places.system()


def test_a_file_goes_where_its_name_says() -> None:
    expected = {
        "units/deployd.service": "/usr/lib/systemd/system/deployd.service",
        "units/org.deployd1.service": "/usr/share/dbus-1/system-services/org.deployd1.service",
        "units/org.deployd1.conf": "/usr/share/dbus-1/system.d/org.deployd1.conf",
        "units/org.deployd1.policy": "/usr/share/polkit-1/actions/org.deployd1.policy",
        "packaging/preset/80-deployd.preset": "/usr/lib/systemd/system-preset/80-deployd.preset",
        "packaging/cockpit/manifest.json": "/usr/share/cockpit/deployd/manifest.json",
        "packaging/completions/deployd.bash": "/usr/share/bash-completion/completions/deployd",
        "packaging/completions/_deployd": "/usr/share/zsh/vendor-completions/_deployd",
        "packaging/man/deployd.app.5": "/usr/share/man/man5/deployd.app.5",
    }
    assert SYSTEM.destinations(expected) == dict(sorted(expected.items(), key=lambda item: item[1]))


def test_another_prefix_is_that_of_all_files() -> None:
    assert places.system("/opt/d").destination("integrations/x.py") == "/opt/d/share/deployd/integrations/x.py"


def test_an_unknown_file_is_an_error_that_says_where_to_add_it() -> None:
    with pytest.raises(DeploydError, match=r"units/deployd\.surprise has no place; add one to .*places\.py"):
        SYSTEM.destination("units/deployd.surprise")


def test_the_files_of_the_checkout_have_places_of_their_own() -> None:
    found, _ = sources.read(CHECKOUT, SYSTEM.sources)
    destinations = SYSTEM.destinations(found)
    assert len(set(destinations.values())) == len(found)
    assert {name.partition("/")[0] for name in found} == {"integrations", "packaging", "units"}
