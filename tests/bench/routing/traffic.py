"""The traffics, servers and loads that are compared. Pure.

Service times are pauses of the server, not work, so that two CPUs suffice for all instances; a server with threads gets
longer ones, so that all of them get the same number of requests per second.
"""

from __future__ import annotations

from dataclasses import dataclass

STEERED, SHARED, HASH, NGINX, HAPROXY = METHODS = ("steered", "shared", "hash", "nginx", "haproxy")
DIRECT = (STEERED, SHARED, HASH)
"""The methods without a proxy, whose instances accept the clients' connections themselves."""
LOADS = (30, 60, 80)
"""Percent of what the instances can serve."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    words: str
    instances: int
    slots: int = 1
    """Requests that one instance serves at a time."""
    keeps: bool = True
    """Whether it serves several requests on one connection."""

    @property
    def stretch(self) -> float:
        """The factor of service times with which all servers have the capacity of eight instances with one slot."""
        return self.instances * self.slots / 8


@dataclass(frozen=True, slots=True)
class Traffic:
    name: str
    words: str
    seconds: float
    """Of one measurement."""
    cheap: float
    """Service times in milliseconds."""
    costly: float = 0.0
    share: float = 0.0
    """Of costly requests."""
    kept: int = 0
    """Connections that are opened in one burst and kept; 0: one for each request."""

    @property
    def mean(self) -> float:
        return (1 - self.share) * self.cheap + self.share * self.costly


@dataclass(frozen=True, slots=True)
class Cell:
    traffic: Traffic
    load: int
    server: Server

    @property
    def rate(self) -> float:
        """Requests per second."""
        return 8 * self.load / 100 / (self.traffic.mean / 1000)

    @property
    def words(self) -> str:
        return f"{self.traffic.name}, {self.load} %, {self.server.name}"


SERVERS = {
    server.name: server
    for server in (
        Server("sync", "single-threaded: gunicorn sync", 8, keeps=False),
        Server("gthread", "4 threads: gunicorn gthread", 4, 4),
        Server("event", "event loop: uvicorn", 8),
    )
}
TRAFFICS = {
    traffic.name: traffic
    for traffic in (
        Traffic("cheap", "many cheap requests", 4, 10),
        Traffic("mixed", "5 % costly requests", 6, 4, 200, 0.05),
        Traffic("kept", "400 kept connections, a fifth of them with four fifths of the requests", 5, 10, kept=400),
        Traffic("costly", "few costly requests", 8, 100),
    )
}


def cells(traffics: list[str], loads: list[int], servers: list[str]) -> list[Cell]:
    """Return the cells to measure, by server, because its instances run for all of its cells.

    A server that closes each connection after one request is left out of the traffic of kept ones: an idle one keeps it
    from serving others.
    """
    return [
        Cell(TRAFFICS[traffic], load, SERVERS[server])
        for server in servers
        for traffic in traffics
        for load in loads
        if SERVERS[server].keeps or not TRAFFICS[traffic].kept
    ]
