"""From what the daemon says to lines of text. Pure: no clock, no terminal, no I/O.

Every function here takes any mapping and makes the best of it: a daemon of another version, or one that is
broken, must not leave an administrator with a traceback in the middle of a rollout.
"""
