"""The unit files of an app: their text (render, pure), which ones are wanted (layout) and which are installed.

May import systemd, state and what lies below them.
"""
