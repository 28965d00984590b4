"""The apps of this machine: their files, their controllers, queries and requests.

May import everything but service and the command.
"""
