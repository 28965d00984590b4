"""Rollouts of fleets: none overtakes a newer one, and each request has one rollout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import Refused
from deployd.model.fleet import LARGEST_TOKEN, FleetRequest, problem
from deployd.model.generation import Entry
from deployd.plan.fence import highest, made
from deployd.plan.rollback import kept
from tests.state.four_rollouts import generation


@dataclass
class Host:
    """The generations of an app, newest first, and the history that keeps some of them."""

    generations: list[Entry]
    begun: int = 0

    def request(self, request: FleetRequest, release: str) -> Entry:
        """Do what the daemon does with a request. Raises Refused."""
        known = made(self.generations, request, release)
        if known is None:
            self.begun += 1
            entry = generation(self.begun)
            known = replace(entry, release=release, fleet=request.fleet, token=request.token)
            self.generations.insert(0, known)
        return known

    def prune(self, newest: int) -> None:
        keep = kept(self.generations, None, newest)
        self.generations = [item for item in self.generations if item.number in keep]


REQUESTS = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.none() | st.integers(0, 3)), max_size=20)


@given(REQUESTS)
def test_a_late_driver_begins_nothing_and_a_repeated_request_has_one_rollout(
    requests: list[tuple[int, bool, int | None]],
) -> None:
    host, accepted = Host([]), set[int]()
    for token, again, newest in requests:
        request = FleetRequest(f"release-{token}", token)
        for _ in range(2 if again else 1):
            if token < max(accepted, default=0):
                with pytest.raises(Refused, match="a newer rollout of the fleet has begun"):
                    host.request(request, f"/srv/demo/{token}")
            else:
                assert host.request(request, f"/srv/demo/{token}").token == token
                accepted.add(token)
        if newest is not None:
            host.prune(newest)
        found = highest(host.generations)
        assert (found.token if found is not None else 0) == max(accepted, default=0), "no pruning forgets it"
    assert host.begun == len(accepted)


def test_an_id_is_one_release_and_a_token_one_id() -> None:
    host = Host([])
    first = host.request(FleetRequest("a", 5), "/srv/demo/5")
    assert host.request(FleetRequest("a", 7), "/srv/demo/5") == first, "a driver that begins again may count on"
    with pytest.raises(Refused, match="a is a rollout of /srv/demo/5; a rollout of /srv/demo/6 needs another ID"):
        host.request(FleetRequest("a", 5), "/srv/demo/6")
    with pytest.raises(Refused, match="the token 5 is that of a; each rollout of a fleet needs a higher one"):
        host.request(FleetRequest("b", 5), "/srv/demo/6")


@pytest.mark.parametrize(
    ("fleet", "token", "says"),
    [
        ("2026-11-26/shop@v7", 1, ""),
        ("x" * 128, LARGEST_TOKEN, ""),
        ("", 1, "the ID of a fleet rollout must have"),
        ("a b", 1, "the ID of a fleet rollout must have"),
        ("x" * 129, 1, "the ID of a fleet rollout must have"),
        ("a", 0, "the token of a fleet rollout must be a number from 1 to"),
        ("a", LARGEST_TOKEN + 1, "the token of a fleet rollout must be a number from 1 to"),
    ],
)
def test_what_is_allowed(fleet: str, token: int, says: str) -> None:
    found = problem(fleet, token)
    assert (bool(found), found.startswith(says)) == (bool(says), True)
