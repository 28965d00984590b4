"""The kernel's counters of the accept queue are found in any column."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.load import netstat
from tests.load.netstat import Listen

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine is shared
NAMES = st.lists(st.from_regex(r"[A-Z][A-Za-z0-9]{2,20}", fullmatch=True), unique=True, max_size=20)
COUNTS = st.integers(min_value=0, max_value=2**64)


@UNHURRIED
@given(names=NAMES, overflows=COUNTS, drops=COUNTS, data=st.data())
def test_the_columns_are_found_by_name(names: list[str], overflows: int, drops: int, data: st.DataObject) -> None:
    table = dict.fromkeys(names, 7) | {"ListenOverflows": overflows, "ListenDrops": drops}
    order = data.draw(st.permutations(sorted(table)))
    text = (
        f"IpExt: ListenOverflows InNoRoutes\nIpExt: 1 2\nTcpExt: {' '.join(order)}\n"
        f"TcpExt: {' '.join(str(table[name]) for name in order)}\nMPTcpExt: ListenDrops\nMPTcpExt: 3\n"
    )
    assert netstat.parse(text) == Listen(overflows, drops)


@pytest.mark.parametrize("text", ["", "TcpExt: A B\nTcpExt: 1 2\n", "IpExt: ListenOverflows ListenDrops\nIpExt: 1 2\n"])
def test_a_file_without_the_counters_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ListenOverflows"):
        netstat.parse(text)


def test_counters_are_subtracted() -> None:
    assert Listen(9, 12) - Listen(4, 2) == Listen(5, 10)


def test_this_kernel_has_the_counters() -> None:
    if not Path("/proc/net/netstat").exists():
        pytest.skip("no /proc/net/netstat here")
    assert netstat.read().overflows >= 0
