"""The `deployd` command: a client of org.deployd1 and nothing else.

    main      arguments to exit status: the one place that turns exceptions into both
    program   the table of commands; a command's module is imported when it is called
    commands  one module per command or per group: options, one call of the client, what to print
    text      pure functions from what the daemon says to lines of text
    live      a drawing that is replaced in place, on terminals

It starts often (scripts, watch, completion), so what costs time is imported late and where it is needed.
"""
