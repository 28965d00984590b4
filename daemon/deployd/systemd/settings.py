"""Which settings of an instance's loaded unit its app's commands are given, by their names on the bus. Pure.

org.freedesktop.systemd1(5) has them as properties of a service. Those that stand under COPIED are written in the shape
in which they are read, in systemd 252 as in 257 (tests/instances/test_drop_ins_host.py passes each). A command has
NOT_COPIED for itself, or they are no settings at all. A setting that is in neither is of a newer systemd: what cannot
be understood is refused where it is set, never left out.
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
# How an instance is started, watched and stopped.
_LIFE = """
    BusName ExitType FileDescriptorStoreMax FileDescriptorStorePreserve FinalKillSignal GuessMainPID KillMode
    KillSignal NonBlocking NotifyAccess OOMPolicy OpenFile PIDFile ReloadSignal RemainAfterExit Restart
    RestartForceExitStatus RestartKillSignal RestartMaxDelayUSec RestartMode RestartPreventExitStatus
    RestartSteps RestartUSec RootDirectoryStartOnly RuntimeDirectoryPreserve RuntimeMaxUSec
    RuntimeRandomizedExtraUSec SendSIGHUP SendSIGKILL SuccessExitStatus TimeoutAbortUSec TimeoutCleanUSec
    TimeoutStartFailureMode TimeoutStartUSec TimeoutStopFailureMode TimeoutStopUSec Type USBFunctionDescriptors
    USBFunctionStrings WatchdogSignal WatchdogUSec WorkingDirectory
"""
# Its input and output; what commands write goes to the journal.
_OUTPUT = """
    LogExtraFields SameProcessGroup StandardError StandardErrorFileDescriptorName StandardInput
    StandardInputData StandardInputFileDescriptorName StandardOutput StandardOutputFileDescriptorName
    SyslogFacility SyslogIdentifier SyslogLevel SyslogLevelPrefix SyslogPriority TTYColumns TTYPath TTYReset
    TTYRows TTYVHangup TTYVTDisallocate UtmpIdentifier UtmpMode
"""
# Said by RootHash and RootHashSignature as well.
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
"""What systemd sets of each unit that it loads."""

_REPLACED_BY = {
    **{name: f"{name}Ex" for name in ("ImportCredential", "PrivateTmp", "PrivateUsers", "ProtectControlGroups")},
    # Alone it stands for all controllers.
    "Delegate": "DelegateControllers",
}
"""Settings that the other says as well, and better."""


def copied(loaded: ServiceSettings, unset: ServiceSettings, bare: ServiceSettings) -> dict[str, tuple[str, Any]]:
    """The settings of the `loaded` unit that a transient unit has to be made with to be like it.

    `unset` are a unit's settings where nobody sets any, `bare` with the drop-ins that every service has: those are read
    into a transient unit too, after what it is made with. Raises SystemdError where they would take away from it.
    """
    known = COPIED & loaded.keys()
    for name in sorted(known - _OF_ITS_OWN):
        if bare.get(name) != unset.get(name) and not _holds(loaded[name][1], bare[name][1]):
            raise SystemdError(
                f"a drop-in for all services sets {name}= otherwise than the unit of the instances has it, and would"
                " win over it in a command of the app; set it in one of the two places only"
            )
    # In systemd's order, in which one may build on the one before.
    names = [name for name in loaded if name in known and loaded[name] != unset.get(name)]
    # Set alone, a soft limit would be the hard one as well.
    hard = dict.fromkeys(name.removesuffix("Soft") for name in names if name in LIMITS)
    limits = [f"{name}{soft}" for name in hard for soft in ("", "Soft")]
    wanted = [*(name for name in names if name not in LIMITS), *limits]
    return {name: _written(name, *loaded[name]) for name in wanted if _REPLACED_BY.get(name, "") not in wanted}


def unknown(loaded: ServiceSettings, unset: ServiceSettings) -> list[str]:
    """Settings of a unit that was never started which are in neither table."""
    return sorted(
        name for name in loaded.keys() - COPIED - NOT_COPIED if loaded[name] != unset.get(name, (loaded[name][0], None))
    )


def _holds(ours: Any, theirs: Any) -> bool:
    """Whether nothing changes where `theirs` is read after `ours`: a list is added to."""
    return bool(ours == theirs) or (
        isinstance(ours, list) and isinstance(theirs, list) and all(item in ours for item in theirs)
    )


def _written(name: str, signature: str, value: Any) -> tuple[str, Any]:
    """In the shape in which it is written."""
    if name == "SELinuxContext":
        return "s", value[1]  # that it may be missing cannot be said, so it may not
    return signature, value
