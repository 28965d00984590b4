"""What deployd keeps on disk: unit files, pins and generations, the history. Written whole or not at all.

May import model, errors and render. Knows neither D-Bus nor systemd.
"""
