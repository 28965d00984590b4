"""The exception for ^C, alone here because main must know it without importing what raises it."""


class Interrupted(Exception):
    """^C; ``str()`` says what goes on nevertheless, if anything does.

    Not a KeyboardInterrupt, which typer would answer in its own words.
    """
