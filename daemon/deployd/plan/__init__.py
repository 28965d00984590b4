"""Decisions, pure: what to do next (planner), where a rollout goes (transitions), dry runs (simulation).

May import deployd.model and deployd.errors. No I/O, no clock: the time is an argument.
"""
