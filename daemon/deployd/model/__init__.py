"""The words of design.md as frozen values. Imports nothing else of deployd, does no I/O."""
