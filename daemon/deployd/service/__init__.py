"""org.deployd1: the D-Bus edge. Dispatch, polkit's consent, and what answers disclose to whom.

The top of the daemon: only main imports it.
"""
