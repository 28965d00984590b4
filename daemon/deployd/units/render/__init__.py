"""Unit files and generation files as text. Pure: an App in, text out; writing is for `units` and `pins`.

Two places, one rule each. What differs per app goes into unit files, through the templates of templates/. What
differs per generation (program, arguments, environment, release) goes into files that hang on the pin, so that no
daemon-reload is needed per instance and an instance that systemd restarts comes back as it was.
"""

from __future__ import annotations

from deployd.units.render.generation import generation_files
from deployd.units.render.unit import HEADER, Unit, execution, is_unit, unit_names, units

__all__ = ["HEADER", "Unit", "execution", "generation_files", "is_unit", "unit_names", "units"]
