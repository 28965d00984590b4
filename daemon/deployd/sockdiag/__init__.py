"""Sockets as the kernel reports them (sock_diag(7)): listeners, queues and connections, TCP and UNIX.

May import model and errors.
"""
