"""One app's control loop and the rollout that it carries through to its end.

May import instances and what lies below it.
"""
