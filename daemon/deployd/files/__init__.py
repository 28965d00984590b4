"""Access to files of users and apps: opens them without following untrusted links, checks permissions, uses threads.

May import model and errors.
"""
