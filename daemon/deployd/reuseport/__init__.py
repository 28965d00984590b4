"""The kernel's side of steering: which instance's TCP listener gets the next connection (SO_REUSEPORT and eBPF).

May import deployd.errors, model and sockdiag. Is given weights and decides nothing. Modules in reading order:

- table.py     the weights as 4096 entries, and the order of instances for connections that an entry cannot place. Pure.
- program.py   the eBPF program that reads the table in the kernel, each instruction next to its meaning (assembler.py).
- maps.py      the memory that the program and the daemon share.
- listeners.py the listener of a systemd unit, duplicated from PID 1 for a moment.
- group.py     the listeners of one address, with their array and their program.
- steering.py  all of this for one app.
- idle.py      takes its place on machines that cannot steer.
- support.py   whether this machine can steer.
- syscalls.py  the two system calls below all this.
"""
