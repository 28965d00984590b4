"""Which settings of an instance's loaded unit are copied to the commands of its app, by their names on the bus. Pure.

They are properties of a service (org.freedesktop.systemd1(5)). Those in COPIED are written in the form in which they
are read, in systemd 252 as in 257 (tests/systemd/test_execution_host.py copies each). Those in NOT_COPIED are set for
each command, or are no settings. A setting in neither is one of a newer systemd: it is refused if it is set, and never
omitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd.errors import SystemdError

ServiceSettings = Mapping[str, tuple[str, Any]]
"""Properties of a service, as StartTransientUnit takes them: name to signature and value."""

# systemd.exec(5): identity, capabilities, security, sandboxing.
_SECURITY = """
    User Group DynamicUser SupplementaryGroups SetLoginEnvironment PAMName UMask CapabilityBoundingSet
    AmbientCapabilities SecureBits NoNewPrivileges SELinuxContext AppArmorProfile SmackProcessLabel KeyringMode
    LockPersonality Personality RestrictAddressFamilies RestrictFileSystems RestrictNamespaces RestrictRealtime
    RestrictSUIDSGID MemoryDenyWriteExecute SystemCallArchitectures SystemCallErrorNumber SystemCallFilter
    SystemCallLog RemoveIPC MemoryKSM
"""
# Paths and namespaces.
_PATHS = """
    RootDirectory RootImage RootImageOptions RootImagePolicy RootEphemeral RootHash RootHashSignature RootVerity
    MountAPIVFS MountFlags MountImages MountImagePolicy ExtensionDirectories ExtensionImages
    ExtensionImagePolicy BindPaths BindReadOnlyPaths BindLogSockets TemporaryFileSystem ReadWritePaths
    ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths PrivateDevices PrivateIPC PrivateMounts PrivateNetwork
    PrivatePIDs PrivateTmp PrivateTmpEx PrivateUsers PrivateUsersEx ProcSubset ProtectClock ProtectControlGroups
    ProtectControlGroupsEx ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules
    ProtectKernelTunables ProtectProc ProtectSystem IPCNamespacePath NetworkNamespacePath RuntimeDirectory
    RuntimeDirectoryMode RuntimeDirectorySymlink StateDirectory StateDirectoryMode StateDirectorySymlink
    CacheDirectory CacheDirectoryMode CacheDirectorySymlink LogsDirectory LogsDirectoryMode LogsDirectorySymlink
    ConfigurationDirectory ConfigurationDirectoryMode
"""
# Credentials and environment.
_ENVIRONMENT = """
    ImportCredential ImportCredentialEx LoadCredential LoadCredentialEncrypted SetCredential
    SetCredentialEncrypted Environment EnvironmentFiles PassEnvironment UnsetEnvironment ExecSearchPath
"""
# Scheduling, logging.
_SCHEDULING = """
    Nice OOMScoreAdjust CoredumpFilter CPUAffinity CPUAffinityFromNUMA CPUSchedulingPolicy CPUSchedulingPriority
    CPUSchedulingResetOnFork IOSchedulingClass IOSchedulingPriority NUMAMask NUMAPolicy TimerSlackNSec
    IgnoreSIGPIPE LogFilterPatterns LogLevelMax LogNamespace LogRateLimitBurst LogRateLimitIntervalUSec
"""
# systemd.resource-control(5).
_RESOURCES = """
    Slice AllowedCPUs AllowedMemoryNodes StartupAllowedCPUs StartupAllowedMemoryNodes BPFProgram
    BlockIOAccounting BlockIODeviceWeight BlockIOReadBandwidth BlockIOWeight BlockIOWriteBandwidth CPUAccounting
    CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUShares CPUWeight CoredumpReceive DefaultMemoryLow DefaultMemoryMin
    DefaultStartupMemoryLow Delegate DelegateControllers DelegateSubgroup DeviceAllow DevicePolicy
    DisableControllers IOAccounting IODeviceLatencyTargetUSec IODeviceWeight IOReadBandwidthMax IOReadIOPSMax
    IOWeight IOWriteBandwidthMax IOWriteIOPSMax IPAccounting IPAddressAllow IPAddressDeny IPEgressFilterPath
    IPIngressFilterPath ManagedOOMMemoryPressure ManagedOOMMemoryPressureDurationUSec
    ManagedOOMMemoryPressureLimit ManagedOOMPreference ManagedOOMSwap MemoryAccounting MemoryHigh MemoryLimit
    MemoryLow MemoryMax MemoryMin MemoryPressureThresholdUSec MemoryPressureWatch MemorySwapMax MemoryZSwapMax
    MemoryZSwapWriteback NFTSet RestrictNetworkInterfaces SocketBindAllow SocketBindDeny StartupBlockIOWeight
    StartupCPUShares StartupCPUWeight StartupIOWeight StartupMemoryHigh StartupMemoryLow StartupMemoryMax
    StartupMemorySwapMax StartupMemoryZSwapMax TasksAccounting TasksMax
"""
_LIMITS = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
# How an instance is started, supervised and stopped.
_LIFE = """
    BusName ExitType FileDescriptorStoreMax FileDescriptorStorePreserve FinalKillSignal GuessMainPID KillMode
    KillSignal NonBlocking NotifyAccess OOMPolicy OpenFile PIDFile ReloadSignal RemainAfterExit Restart
    RestartForceExitStatus RestartKillSignal RestartMaxDelayUSec RestartMode RestartPreventExitStatus
    RestartSteps RestartUSec RootDirectoryStartOnly RuntimeDirectoryPreserve RuntimeMaxUSec
    RuntimeRandomizedExtraUSec SendSIGHUP SendSIGKILL SuccessExitStatus TimeoutAbortUSec TimeoutCleanUSec
    TimeoutStartFailureMode TimeoutStartUSec TimeoutStopFailureMode TimeoutStopUSec Type USBFunctionDescriptors
    USBFunctionStrings WatchdogSignal WatchdogUSec WorkingDirectory
"""
# Input and output. The output of commands goes to the journal.
_OUTPUT = """
    LogExtraFields SameProcessGroup StandardError StandardErrorFileDescriptorName StandardInput
    StandardInputData StandardInputFileDescriptorName StandardOutput StandardOutputFileDescriptorName
    SyslogFacility SyslogIdentifier SyslogLevel SyslogLevelPrefix SyslogPriority TTYColumns TTYPath TTYReset
    TTYRows TTYVHangup TTYVTDisallocate UtmpIdentifier UtmpMode
"""
# Other forms of RootHash and RootHashSignature.
_ALIASES = """
    RootHashPath RootHashSignaturePath
"""
# State.
_STATE = """
    CPUUsageNSec CleanResult ControlGroup ControlGroupId ControlPID EffectiveCPUs EffectiveMemoryHigh
    EffectiveMemoryMax EffectiveMemoryNodes EffectiveTasksMax ExecMainCode ExecMainExitTimestamp
    ExecMainExitTimestampMonotonic ExecMainHandoffTimestamp ExecMainHandoffTimestampMonotonic ExecMainPID
    ExecMainStartTimestamp ExecMainStartTimestampMonotonic ExecMainStatus ExtraFileDescriptorNames GID
    IOReadBytes IOReadOperations IOWriteBytes IOWriteOperations IPEgressBytes IPEgressPackets IPIngressBytes
    IPIngressPackets LiveMountResult MainPID MemoryAvailable MemoryCurrent MemoryPeak MemorySwapCurrent
    MemorySwapPeak MemoryZSwapCurrent NFileDescriptorStore NRestarts ReloadResult RestartUSecNext Result
    StatusBusError StatusErrno StatusText StatusVarlinkError TasksCurrent UID WatchdogTimestamp
    WatchdogTimestampMonotonic
"""
_COMMANDS = "Condition Reload Start StartPost StartPre Stop StopPost"

LIMITS = frozenset(f"Limit{name}{soft}" for name in _LIMITS.split() for soft in ("", "Soft"))
COPIED = LIMITS.union(*(names.split() for names in (_SECURITY, _PATHS, _ENVIRONMENT, _SCHEDULING, _RESOURCES)))
NOT_COPIED = frozenset(f"Exec{name}{ex}" for name in _COMMANDS.split() for ex in ("", "Ex")).union(
    *(names.split() for names in (_LIFE, _OUTPUT, _ALIASES, _STATE))
)

_OF_ITS_OWN = LIMITS | {"Slice"}
"""Settings that systemd sets in each unit that it loads."""

_REPLACED_BY = {
    **{name: f"{name}Ex" for name in ("ImportCredential", "PrivateTmp", "PrivateUsers", "ProtectControlGroups")},
    # Delegate alone means all controllers.
    "Delegate": "DelegateControllers",
}
"""Settings that another one expresses too, and more precisely."""


def copied(loaded: ServiceSettings, unset: ServiceSettings, bare: ServiceSettings) -> dict[str, tuple[str, Any]]:
    """Return the properties with which a transient unit gets the settings of the `loaded` unit.

    `unset` are the defaults, `bare` the settings of a unit with nothing but the drop-ins of all services. A transient
    unit reads these drop-ins as well, after its properties. Raises SystemdError if they would override one.
    """
    known = COPIED & loaded.keys()
    for name in sorted(known - _OF_ITS_OWN):
        if bare.get(name) != unset.get(name) and not _holds(loaded[name][1], bare[name][1]):
            raise SystemdError(
                f"a drop-in for all services sets {name}= otherwise than the unit of the instances has it, and would"
                " win over it in a command of the app; set it in one of the two places only"
            )
    # In systemd's order: a setting may depend on one before it.
    names = [name for name in loaded if name in known and loaded[name] != unset.get(name)]
    # A soft limit that is set alone becomes the hard limit too.
    hard = dict.fromkeys(name.removesuffix("Soft") for name in names if name in LIMITS)
    limits = [f"{name}{soft}" for name in hard for soft in ("", "Soft")]
    wanted = [*(name for name in names if name not in LIMITS), *limits]
    return {name: _written(name, *loaded[name]) for name in wanted if _REPLACED_BY.get(name, "") not in wanted}


def unknown(loaded: ServiceSettings, unset: ServiceSettings) -> list[str]:
    """Return the settings of a unit that was never started which are in neither table."""
    return sorted(
        name for name in loaded.keys() - COPIED - NOT_COPIED if loaded[name] != unset.get(name, (loaded[name][0], None))
    )


def _holds(ours: Any, theirs: Any) -> bool:
    """True if `theirs`, read after `ours`, changes nothing. A list is added to the one before."""
    return bool(ours == theirs) or (
        isinstance(ours, list) and isinstance(theirs, list) and all(item in ours for item in theirs)
    )


def _written(name: str, signature: str, value: Any) -> tuple[str, Any]:
    """Return a setting in the form in which it is written."""
    if name == "SELinuxContext":
        return "s", value[1]  # the "-", which allows it to fail, cannot be expressed
    return signature, value
