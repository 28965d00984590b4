"""Probes an instance over HTTP on its private socket."""

from deployd.probe.http import ask

__all__ = ["ask"]
