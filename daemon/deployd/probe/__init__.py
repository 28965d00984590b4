"""Probes an instance over HTTP."""

from deployd.probe.http import ask

__all__ = ["ask"]
