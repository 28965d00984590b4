"""The page in Chromium, in Debian's Cockpit on a host, with a real login: `make cockpit`.

Not a part of `make test`, because the browser is a download of 100 MB: the name of this file is not that of tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cockpit.cockpit import ADMIN, VIEWER, Cockpit, install
from tests.docs.readme import CHECKOUT
from tests.host.machine import Machine
from tests.host.stage import APP, INSTANCES, Stage

PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def site(own_machine: Machine) -> Machine:
    """A host with Cockpit."""
    install(own_machine)
    return own_machine


@pytest.fixture(scope="module")
def stage(site: Machine) -> Iterator[Stage]:
    """The app, deployed. Each test rolls out releases of its own."""
    stage = Stage(site)
    stage.deploy("v1", routing="steered")
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def session(site: Machine, stage: Stage) -> Iterator[Cockpit]:
    with Cockpit(site) as cockpit:
        cockpit.browser.window(*DESKTOP)
        cockpit.login(ADMIN, administrator=True)
        yield cockpit


@pytest.fixture
def cockpit(session: Cockpit, stage: Stage) -> Iterator[Cockpit]:
    """The page of the app, opened by an administrator; nothing that it did was refused by the browser."""
    if stage.status()["rollout"] is not None:
        stage.change("abort", "--wait")  # what a test that failed has left
    session.browser.window(*DESKTOP)
    session.show(APP)
    yield session
    assert not [line for line in session.browser.complaints() if "deployd" in line]


def roll(cockpit: Cockpit, release: str, canary: str = "") -> None:
    """Begin a rollout in the dialog."""
    cockpit.click("#action-rollout")
    cockpit.fill("#release", release)
    cockpit.fill("#canary", canary)
    cockpit.reads("#plan:not([aria-busy])", release)
    cockpit.click("#dialog-confirm")
    cockpit.gone("dialog")


def test_the_list_has_the_app(cockpit: Cockpit) -> None:
    cockpit.show()
    cockpit.reads(f"#app-{APP}", f"{APP} OK {INSTANCES} of {INSTANCES}")
    cockpit.click(f"#app-{APP} a")
    cockpit.reads("h1", APP)
    cockpit.reads("#instances", f"{APP}@1")


@pytest.mark.timeout(300)
def test_the_keyboard_alone_is_enough_for_a_rollout_and_back(cockpit: Cockpit, stage: Stage) -> None:
    release, browser = stage.release("keyboard"), cockpit.browser
    before = stage.status()["generation"]
    cockpit.until("(page.defaultView.focus(), page.getElementById('page').focus(), true)")
    cockpit.tab_to("action-rollout")
    browser.press("Enter")
    cockpit.until("page.activeElement.id === 'release'")
    browser.type(release)
    browser.press("Enter")  # shows the plan of this release; the rollout begins with the button
    cockpit.reads("#plan:not([aria-busy])", release)
    assert stage.status()["generation"] == before
    cockpit.reads("#plan", f"At least {INSTANCES} ready")
    cockpit.tab_to("dialog-confirm")
    browser.press("Enter")
    cockpit.gone("dialog")
    cockpit.reads(f"#generation-{before + 1}", "Succeeded")
    cockpit.reads("#instances", f"Generation {before + 1} Live")
    cockpit.until("page.activeElement !== page.body")  # the focus is kept, although its button was gone meanwhile
    cockpit.tab_to("action-rollback")
    browser.press("Enter")
    cockpit.until("page.activeElement.id === 'dialog-cancel'")
    browser.press("Escape")
    cockpit.gone("dialog")
    assert stage.status()["generation"] == before + 1, "Escape changes nothing"
    cockpit.tab_to("action-rollback")
    browser.press("Enter")
    cockpit.tab_to("dialog-confirm")
    browser.press("Enter")
    cockpit.reads(f"#generation-{before + 2}", "Succeeded")


@pytest.mark.timeout(300)
def test_a_canary_is_seen_weighed_resumed(cockpit: Cockpit, stage: Stage) -> None:
    roll(cockpit, stage.release("canary"), "1")
    cockpit.reads("#rollout", "Paused")
    cockpit.reads("#rollout", "Canary: 1 new alongside 4 old")
    cockpit.reads("#rollout .log", "is ready")
    to = stage.status()["rollout"]["to"]
    cockpit.click("#action-weight")
    cockpit.fill("#weight", "30")
    cockpit.click("#dialog-confirm")
    cockpit.reads(".legend", f"Generation {to} 30 % set")
    cockpit.until("Math.round(page.querySelector('.bar .new').width.baseVal.value) === 30")
    with stage.load(rate=50, keepalive=0) as load:
        cockpit.measure(rf"Generation {to} 30 % set, \d+\.\d % measured")
        load.stop()
    cockpit.click("#action-resume")
    cockpit.reads(f"#generation-{to}", "Succeeded")
    cockpit.reads("#rollout", "Last rollout")


@pytest.mark.timeout(300)
def test_a_rollout_is_followed_paused_and_aborted(cockpit: Cockpit, stage: Stage) -> None:
    origin = stage.status()["generation"]
    roll(cockpit, stage.release("slow", barrier=True))
    cockpit.reads("#rollout", "Rolling out")
    cockpit.reads("#instances", "starting")
    stage.admit(*(item["instance"] for item in stage.status()["instances"] if item["state"] == "starting"))
    cockpit.reads("#rollout .progress", f"1 of {INSTANCES}")
    cockpit.click("#action-pause")
    cockpit.reads("#rollout", "Paused")
    cockpit.click("#action-abort")
    cockpit.reads("dialog", f"those of generation {origin}")
    cockpit.click("#dialog-confirm")
    cockpit.reads(f"#generation-{origin + 1}", "Aborted")
    assert stage.status()["generation"] == origin


@pytest.mark.timeout(300)
def test_a_bad_release_says_why(cockpit: Cockpit, stage: Stage) -> None:
    bad = stage.history()[0]["generation"] + 1
    roll(cockpit, stage.release("crash", "crash"))
    cockpit.reads(f"#generation-{bad}", "Rolled back")
    cockpit.reads(f"#generation-{bad}", "before it was ready")
    cockpit.reads("#warnings", "before it was ready")
    cockpit.reads("#rollout .log", f"Generation {bad} rolled-back")


@pytest.mark.timeout(300)
def test_a_person_without_rights_looks_and_is_refused_in_a_sentence(site: Machine, stage: Stage) -> None:
    with Cockpit(site) as cockpit:
        cockpit.browser.window(*DESKTOP)
        cockpit.login(VIEWER)
        cockpit.show(APP)
        cockpit.reads("#instances", f"{APP}@")
        before = stage.history()
        cockpit.click("#action-rollback")
        cockpit.click("#dialog-confirm")
        cockpit.reads("dialog .trouble", "org.deployd1.rollback")
        cockpit.reads("dialog .trouble", "turn on administrative access")
        assert stage.history() == before


@pytest.mark.timeout(300)
def test_a_member_of_the_group_that_may_roll_out_this_app_does_so(site: Machine, stage: Stage) -> None:
    """With the example of docs/permissions.md, and without administrative access."""
    rule = (CHECKOUT / "packaging/examples/deploy-one-app.rules").read_text().replace("shop", APP)
    site.write("/etc/polkit-1/rules.d/50-deployd.rules", rule)
    site.run(["groupadd", "deploy"])
    site.run(["usermod", "--append", "--groups", "deploy", VIEWER])
    with Cockpit(site) as cockpit:
        cockpit.browser.window(*DESKTOP)
        cockpit.login(VIEWER)
        cockpit.show(APP)
        generation = stage.history()[0]["generation"] + 1
        roll(cockpit, stage.release("by-the-group"))
        cockpit.reads(f"#generation-{generation}", "Succeeded")


@pytest.mark.timeout(300)
def test_markup_in_data_is_text(cockpit: Cockpit, stage: Stage) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    roll(cockpit, stage.release(hostile))
    generation = stage.history()[0]["generation"]
    cockpit.reads(f"#generation-{generation}", "Succeeded")
    cockpit.reads(f"#generation-{generation} .path", hostile)
    cockpit.gone("img")


def test_a_changed_app_file_is_noticed(cockpit: Cockpit, stage: Stage) -> None:
    stage.configure(service={"MemoryMax": "512M"})
    cockpit.show()
    cockpit.show(APP)
    cockpit.reads("#warnings", "service.MemoryMax")
    cockpit.click("#action-rollout")
    cockpit.reads("#plan:not([aria-busy])", "service.MemoryMax added: 512M")
    cockpit.click("#dialog-cancel")
    stage.configure(service=None)


@pytest.mark.timeout(300)
def test_it_says_that_the_daemon_is_away_and_comes_back_with_it(cockpit: Cockpit, site: Machine) -> None:
    site.run(["systemctl", "stop", "deployd"])
    cockpit.reads("#page", "deployd is not running")
    site.run(["systemctl", "start", "deployd"])
    cockpit.until("!page.getElementById('page').innerText.includes('deployd is not running')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["", APP], ids=["list", "app"])
def test_a_phone_shows_all_of_it(cockpit: Cockpit, path: str, dark: bool) -> None:
    cockpit.browser.window(*PHONE, dark=dark)
    cockpit.show(path)
    cockpit.until(
        "page.documentElement.scrollWidth <= page.documentElement.clientWidth || page.documentElement.scrollWidth"
    )
    assert cockpit.until("page.documentElement.scrollWidth <= page.documentElement.clientWidth") is True
    ground = cockpit.until("getComputedStyle(page.body).backgroundColor")
    brightness = sum(int(part) for part in str(ground).removeprefix("rgb(").rstrip(")").split(",")[:3])
    assert (brightness < 150) == dark, ground


def test_what_a_screen_reader_finds(cockpit: Cockpit) -> None:
    """Landmarks, a heading for each section, tables that stay tables on a phone, a name for each control."""
    cockpit.reads("#history tbody", "Succeeded")
    for size in (DESKTOP, PHONE):
        cockpit.browser.window(*size)
        roles = cockpit.browser.roles("/deployd")
        assert (roles["main"], roles["navigation"], roles["table"]) == (1, 1, 2)
        assert roles["rowheader"] >= INSTANCES + 1
        assert roles["columnheader"] > 12
        assert roles["heading"] >= 3
    named = "item.ariaLabel || item.innerText.trim() || item.labels?.length"
    unnamed = f"[...page.querySelectorAll('button, a, input')].filter(item => !({named})).length"
    assert cockpit.until(f"String({unnamed})") == "0"
