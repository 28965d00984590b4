"""The exception for ^C, in a module of its own so that main can import it without the modules that raise it."""


class Interrupted(Exception):
    """^C; ``str()`` says what continues nevertheless, if anything does.

    Not a KeyboardInterrupt, for which typer prints a message of its own.
    """
