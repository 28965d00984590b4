"""systemd, asked and told: its manager over D-Bus, sd_notify, the journal, and what its states mean here.

May import deployd.bus, model and errors. Decides nothing.
"""
