"""Exit statuses of systemd itself, before it runs a program (systemd.exec(5), "Process Exit Codes"). Pure."""

from __future__ import annotations

import re

_STEPS = {
    200: ("CHDIR", "its working directory cannot be entered"),
    201: ("NICE", "its scheduling priority (Nice=) cannot be set"),
    202: ("FDS", "its file descriptors cannot be passed"),
    203: ("EXEC", "it cannot be executed"),
    204: ("MEMORY", "memory ran out"),
    205: ("LIMITS", "its resource limits (Limit...=) cannot be set"),
    206: ("OOM_ADJUST", "OOMScoreAdjust= cannot be set"),
    207: ("SIGNAL_MASK", "its signal mask cannot be set"),
    208: ("STDIN", "its standard input (StandardInput=) cannot be opened"),
    209: ("STDOUT", "its standard output (StandardOutput=) cannot be opened"),
    210: ("CHROOT", "its root directory cannot be changed"),
    211: ("IOPRIO", "IOSchedulingClass= or IOSchedulingPriority= cannot be set"),
    212: ("TIMERSLACK", "TimerSlackNSec= cannot be set"),
    213: ("SECUREBITS", "SecureBits= cannot be set"),
    214: ("SETSCHEDULER", "CPUSchedulingPolicy= or CPUSchedulingPriority= cannot be set"),
    215: ("CPUAFFINITY", "CPUAffinity= cannot be set"),
    216: ("GROUP", "its group is not known"),
    217: ("USER", "its user is not known"),
    218: ("CAPABILITIES", "its capabilities cannot be set"),
    219: ("CGROUP", "its control group cannot be set up"),
    220: ("SETSID", "its session cannot be created"),
    221: ("CONFIRM", "its start was not confirmed"),
    222: ("STDERR", "its standard error (StandardError=) cannot be opened"),
    224: ("PAM", "its PAM session (PAMName=) cannot be opened"),
    225: ("NETWORK", "its network namespace cannot be set up"),
    226: ("NAMESPACE", "its mounts cannot be set up: a path of a sandbox directive may be missing"),
    227: ("NO_NEW_PRIVILEGES", "NoNewPrivileges= cannot be set"),
    228: ("SECCOMP", "its system call filter cannot be set"),
    229: ("SELINUX_CONTEXT", "SELinuxContext= cannot be set"),
    230: ("PERSONALITY", "Personality= cannot be set"),
    231: ("APPARMOR_PROFILE", "AppArmorProfile= cannot be set"),
    232: ("ADDRESS_FAMILIES", "RestrictAddressFamilies= cannot be set"),
    233: ("RUNTIME_DIRECTORY", "RuntimeDirectory= cannot be set up"),
    235: ("CHOWN", "the owner of its files cannot be changed"),
    236: ("SMACK_PROCESS_LABEL", "SmackProcessLabel= cannot be set"),
    237: ("KEYRING", "its kernel keyring cannot be set up"),
    238: ("STATE_DIRECTORY", "StateDirectory= cannot be set up"),
    239: ("CACHE_DIRECTORY", "CacheDirectory= cannot be set up"),
    240: ("LOGS_DIRECTORY", "LogsDirectory= cannot be set up"),
    241: ("CONFIGURATION_DIRECTORY", "ConfigurationDirectory= cannot be set up"),
    242: ("NUMA_POLICY", "NUMAPolicy= cannot be set"),
    243: ("CREDENTIALS", "its credentials cannot be set up"),
    245: ("BPF", "its BPF program cannot be set up"),
}
_NAMES = dict(_STEPS.values())
_STEP = re.compile(r"Failed at step ([A-Z_]+) spawning ")


def not_run(status: int | None) -> str:
    """Return why systemd did not run a program that exited with this status, "" if the status is not systemd's."""
    return _STEPS[status][1] if status in _STEPS else ""


def failed_step(message: str) -> str:
    """Return what systemd failed at, by its message "Failed at step USER spawning ...", or "" for other messages."""
    found = _STEP.search(message)
    return "" if found is None else _NAMES.get(found[1], f"systemd failed at step {found[1]}")


def shown(status: int) -> str:
    """Return an exit status, with its name if it is one of systemd's."""
    return f"{status}/{_STEPS[status][0]}" if status in _STEPS else str(status)
