"""Files of users and apps: opened without following others' links, checked for permission, read in threads.

May import model and errors.
"""
