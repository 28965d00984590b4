"""Measures who has to wait: steered against a shared socket, the kernel's hash, nginx and HAProxy in front.

`traffic` names what is compared, `openloop` makes the load (openloop.c), `variants` runs the servers behind each
method, `measurements` measures, `results` has the figures, `table` and `picture` show them. `make bench ONLY=routing`.
"""
