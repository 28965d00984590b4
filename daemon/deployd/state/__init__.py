"""What deployd keeps on disk: pins, generations and the history. Each write is whole or not at all.

May import model and errors. Knows neither D-Bus nor systemd.
"""
