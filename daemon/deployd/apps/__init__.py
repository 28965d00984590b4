"""The apps of this machine: their files, their controllers, what may be asked of them and what may be changed.

May import everything but service and the command.
"""
