"""The JSON documents of the bus and of --json (contracts): status, history, plan, compare, releases. Pure.

From what is known to plain dicts; who gathers it is control/ and service/.
"""
