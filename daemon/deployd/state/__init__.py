"""The state that deployd keeps on disk: pins, generations and the history. Every write is atomic.

May import model and errors. Knows neither D-Bus nor systemd.
"""
