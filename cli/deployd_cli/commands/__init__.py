"""The commands: one module each, or one for a group that shares its way. program.COMMANDS says which is where.

Nouns (check, units, plan, status, history, logs) change nothing; verbs do.
"""
