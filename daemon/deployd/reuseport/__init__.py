"""Steering: which instance's listener gets the next connection, decided by a program in the kernel.

May import deployd.errors and deployd.model. It is told shares and decides nothing. Read it in this order:

- table.py     who gets how many of 4096 tickets, and who stands in for one that does not listen. Pure.
- program.py   the eBPF program that reads the table in the kernel, its text beside its meaning (assembler.py).
- maps.py      the memory that the program and the daemon share.
- diag.py      what the kernel tells of sockets: listeners, their queues, connections (sock_diag(7), by netlink.py).
- listeners.py a systemd unit's listener, borrowed from PID 1 for a moment.
- group.py     the listeners of one address, with their array and their program.
- steering.py  all of it for one app.
- order.py     which listener is at which position in the kernel's group; classic.py: the same steering where bpf(2) is
               refused, by classic BPF programs that answer with a position.
- unix.py      what the kernel tells of UNIX sockets; paths.py: the symlinks by which these are steered.
- idle.py      in its place where nothing can be done.
- support.py   what this machine allows.
- syscalls.py  the two system calls below all this.
"""
