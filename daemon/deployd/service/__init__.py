"""org.deployd1, the D-Bus edge: dispatch, polkit's consent, and what answers disclose to which caller.

Only assembly and main import it.
"""
