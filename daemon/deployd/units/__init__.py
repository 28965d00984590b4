"""The unit files of an app: their text (pure), those that are needed (layout) and those that are installed.

May import systemd, state and what lies below them.
"""
