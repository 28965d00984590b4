"""The `deployd` command: a client of org.deployd1 and nothing else.

    main      arguments to exit status: the only place that turns exceptions into messages and statuses
    program   the table of commands; the module of a command is imported when the command is called
    commands  one module per command or per group: options, one call of the client, its output
    text      pure functions from the daemon's JSON to lines of text
    live      a drawing that is replaced in place, on terminals

It starts often (scripts, watch(1), completion), so slow modules are imported only where they are used.
"""
