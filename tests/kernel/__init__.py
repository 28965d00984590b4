"""Runs tests on a kernel of Debian that this machine does not run, in qemu, with CAP_BPF as the only capability.

With a program of a process without CAP_PERFMON the verifier of Linux 6.1 is stricter than that of later kernels.
Modules in reading order:

- package.py  the kernel, from Debian's package.
- contents.py the guest's files: Python, pytest, the checkout.
- cpio.py     the archive of these files, from which the kernel makes its root.
- init.py     the guest's first process.
- guest.py    boots it and reads what the tests say.
"""
