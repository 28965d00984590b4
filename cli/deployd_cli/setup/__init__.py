"""Installs what deployd ships in addition to its Python code: units, D-Bus and polkit files, the manual, completions.

    sources       reads the files, from the wheel or a checkout
    places        where each of them goes: the one list, also of packaging/install and of all packages. Pure
    contents      what a file says on this machine. Pure
    plan          what must be written and removed. Pure
    executor      does that
    record        what setup has installed, so that it can be updated and removed
    services      the commands of systemd before and after that
    requirements  why setup is refused
    staging       the program packaging/install

It imports the standard library only, because packaging/install runs where nothing is installed yet.
"""
