"""The interfaces of systemd: its manager over D-Bus, sd_notify, the journal, cgroups, and the meaning of unit states.

May import deployd.bus, model and errors. Decides nothing.
"""
