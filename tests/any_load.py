"""Settings of hypothesis: how fast examples are made says more about the machine's other work than about a test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any-load", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any-load")
