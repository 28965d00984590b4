"""From the JSON of the daemon to lines of text. Pure: no clock, no terminal, no I/O.

Every function accepts any mapping: a daemon of another version, or a broken one, must not leave an administrator
with a traceback in the middle of a rollout.
"""
