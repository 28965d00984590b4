"""The words of the project as frozen values. Imports nothing else of deployd, does no I/O."""
