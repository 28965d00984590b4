"""The commands: a module for each, or for a group of similar ones. program.COMMANDS maps them to their modules.

Nouns (check, units, plan, status, history, logs) change nothing; verbs do.
"""
