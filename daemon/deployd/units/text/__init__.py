"""The text of unit files and of the files of a generation. Pure: text from an App; others write it to disk.

What differs per app goes into unit files, through the templates of templates/. What differs per generation (program,
arguments, environment, release) goes into files that an instance reaches through its pin, so that no daemon-reload is
needed per instance, and an instance that systemd restarts comes back with the same generation.
"""

from __future__ import annotations

from deployd.units.text.generation import ENVIRONMENT, credentials, generation_files, marked, timer_environment
from deployd.units.text.templates import HEADER, Unit
from deployd.units.text.timer import timer_units
from deployd.units.text.unit import command_unit, is_steered, is_unit, unit_files, unit_names

__all__ = [
    "ENVIRONMENT",
    "HEADER",
    "Unit",
    "command_unit",
    "credentials",
    "generation_files",
    "is_steered",
    "is_unit",
    "marked",
    "timer_environment",
    "timer_units",
    "unit_files",
    "unit_names",
]
