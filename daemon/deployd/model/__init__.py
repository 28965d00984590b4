"""The terms of the domain as frozen values. Does no I/O (but for the clock) and imports nothing else of deployd."""
