"""The control loops: one controller per app observes, plans and acts; the registry holds them all.

May import everything but service and the command.
"""
