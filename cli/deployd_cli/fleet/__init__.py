"""Rollouts of several hosts through etcd: what each host and the driver decide, and the agent that acts on it.

Each of goal, order, record, keys, transaction, view, turn, steward, requests and verdict is pure: no I/O, no clock.
"""
