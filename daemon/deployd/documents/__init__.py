"""The JSON documents of the bus and of --json (contracts): status, history, plan, compare, releases. Pure.

May import rollout and what lies below it, for their types; apps/ gathers the data.
"""
