"""The kernel's side of steering: which instance's TCP listener gets the next connection (SO_REUSEPORT and eBPF).

May import deployd.errors, model and sockdiag. Is given weights and decides nothing. Modules in reading order:

- slots.py     what the kernel counts of each instance, and which one is the least loaded. Pure.
- table.py     the weights as 4096 entries of groups, and the order of instances for connections that no member of a
               group can take. Pure.
- program.py   the eBPF program that reads table and counts in the kernel, each instruction next to its meaning
               (assembler.py, loading.py). Its part that finds the least loaded instance is in comparison.py.
- counting.py  the eBPF program that counts.
- recount.py   how counts that have drifted are put right. Pure.
- probes.py    connections of the daemon that reach a certain instance.
- maps.py      the memory that the program and the daemon share.
- listeners.py the listener of a systemd unit, duplicated from PID 1 for a moment.
- group.py     the listeners of one address, with their array and their program.
- steering.py  all of this for one app.
- idle.py      takes its place on machines that cannot steer.
- support.py   whether this machine can steer.
- syscalls.py  the two system calls below all this.
"""
