"""deployd, the daemon: zero-downtime releases for systemd-run applications.

See ARCHITECTURE.md for the rooms; each module's docstring says what it owns.
"""

__version__ = "0.1.0"
