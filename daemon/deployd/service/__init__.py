"""org.deployd1: who may ask what (polkit), what can be asked (views), what can be changed (requests).

The top of the daemon: only main imports it.
"""
