"""The processes of one app: started, stopped, frozen, probed, and restarted after crashes.

May import routing and what lies below it.
"""
