"""Pure decisions: the next actions (planner), the phases of a rollout (transitions), dry runs (simulation).

May import deployd.model and deployd.errors. No I/O, no clock: the time is an argument.
"""
