"""What monitoring systems are shown of apps: the lines of check plugins, and metrics.

Decisions and names are pure functions of the documents of the daemon.
"""
