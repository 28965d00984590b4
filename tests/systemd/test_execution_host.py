"""Each setting of a unit is copied to a transient unit unchanged: read on the bus from one, written to the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from deployd.bus import Bus
from deployd.errors import SystemdError
from deployd.systemd.execution import UNSET, Execution
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE
from deployd.systemd.settings import COPIED, LIMITS, NOT_COPIED, ServiceSettings
from tests.bus.private_bus import connections, run
from tests.host.machine import Machine

DEADLINE = 120.0
RUN = "/run/systemd/system"

DIRECTIVES = """
User=www-data|Group=adm|DynamicUser=yes|SupplementaryGroups=adm daemon|PAMName=login|UMask=0077|SecureBits=noroot
CapabilityBoundingSet=|CapabilityBoundingSet=CAP_CHOWN CAP_KILL|CapabilityBoundingSet=~CAP_SYS_ADMIN
AmbientCapabilities=CAP_NET_RAW|NoNewPrivileges=yes|SELinuxContext=x|AppArmorProfile=-unconfined|AppArmorProfile=x
SmackProcessLabel=-x|KeyringMode=shared|LockPersonality=yes|Personality=x86-64|RestrictAddressFamilies=AF_UNIX AF_INET
RestrictAddressFamilies=none|RestrictAddressFamilies=~AF_PACKET|RestrictNamespaces=yes
RestrictNamespaces=~user|RestrictRealtime=yes|RestrictSUIDSGID=yes|MemoryDenyWriteExecute=yes
SystemCallArchitectures=native|SystemCallErrorNumber=EPERM|SystemCallFilter=@system-service|SystemCallFilter=~@mount:EACCES
SystemCallLog=@debug|RemoveIPC=yes|RootDirectory=/|RootImage=/x.raw|RootImageOptions=nosuid|MountAPIVFS=yes
MountFlags=private|MountImages=/x.raw:/mnt|ExtensionDirectories=/opt|ExtensionImages=/x.raw|BindPaths=/opt:/mnt
BindReadOnlyPaths=-/opt:/mnt:norbind|TemporaryFileSystem=/mnt:ro,size=1M|ReadWritePaths=/opt -/mnt|ReadOnlyPaths=/opt
InaccessiblePaths=-/mnt|ExecPaths=/usr|NoExecPaths=/|PrivateDevices=yes|PrivateIPC=yes|PrivateMounts=yes
PrivateNetwork=yes|PrivateTmp=yes|PrivateUsers=yes|ProcSubset=pid|ProtectClock=yes|ProtectControlGroups=yes
ProtectHome=tmpfs|ProtectHostname=yes|ProtectKernelLogs=yes|ProtectKernelModules=yes|ProtectKernelTunables=yes
ProtectProc=invisible|ProtectSystem=strict|IPCNamespacePath=/proc/self/ns/ipc|NetworkNamespacePath=/proc/self/ns/net
RuntimeDirectory=a a/b|RuntimeDirectoryMode=0700|RuntimeDirectory=a:b|StateDirectory=a|StateDirectoryMode=0700
StateDirectory=a:b|CacheDirectory=a|CacheDirectoryMode=0700|LogsDirectory=a|LogsDirectoryMode=0700
ConfigurationDirectory=a|ConfigurationDirectoryMode=0700|LoadCredential=a:/etc/hostname|LoadCredential=b
LoadCredentialEncrypted=a:/etc/x|SetCredential=a:with %% and \\x00 and "|SetCredentialEncrypted=a: AAAA
Environment=A=1 "B=two words %%"|EnvironmentFile=/etc/a b|EnvironmentFile=-/etc/%%|PassEnvironment=LANG
UnsetEnvironment=HOME A=1|ExecSearchPath=/opt:/mnt|Nice=5|OOMScoreAdjust=100|CoredumpFilter=0x3|CPUAffinity=0
CPUAffinity=numa|CPUSchedulingPolicy=batch|CPUSchedulingPriority=3|CPUSchedulingResetOnFork=yes
IOSchedulingClass=idle|IOSchedulingPriority=3|NUMAMask=0|NUMAPolicy=local|TimerSlackNSec=1ms|IgnoreSIGPIPE=no
LogLevelMax=notice|LogNamespace=x|LogRateLimitBurst=7|LogRateLimitIntervalSec=7|Slice=x.slice|AllowedCPUs=0
AllowedMemoryNodes=0|CPUAccounting=yes|CPUQuota=50%|CPUQuotaPeriodSec=20ms|CPUWeight=7|CPUWeight=idle
StartupCPUWeight=7|Delegate=yes|Delegate=memory pids|DeviceAllow=/dev/null rw|DevicePolicy=closed|DisableControllers=io
IOAccounting=yes|IODeviceLatencyTargetSec=/dev/vda 5ms|IOWeight=7|StartupIOWeight=7|IOReadBandwidthMax=/ 5M
IPAccounting=yes|IPAddressAllow=127.0.0.1 ::1/64|IPAddressDeny=any|IPIngressFilterPath=/sys/fs/bpf/x
IPEgressFilterPath=/sys/fs/bpf/x|BPFProgram=egress:/sys/fs/bpf/x|ManagedOOMMemoryPressure=kill
ManagedOOMMemoryPressureLimit=60%|ManagedOOMPreference=avoid|ManagedOOMSwap=kill|MemoryAccounting=yes|MemoryHigh=200M
MemoryLow=20M|MemoryMax=300M|MemoryMax=50%|MemoryMin=10M|MemorySwapMax=0|RestrictNetworkInterfaces=lo
RestrictNetworkInterfaces=~lo|SocketBindAllow=ipv4:tcp:8080|SocketBindDeny=any|TasksAccounting=yes|TasksMax=50
TasksMax=10%|LimitNOFILE=100:2000|LimitNOFILE=100|LimitCORE=0|LimitCPU=5|LimitRTTIME=5ms|LimitNICE=+5|LimitMEMLOCK=1M
"""
NEWER = """
254 RestrictFileSystems=ext4|254 ImportCredential=x*
254 SetLoginEnvironment=yes|254 MemoryKSM=yes|254 DelegateSubgroup=x|255 RootEphemeral=yes
254 RootImagePolicy=root=verity|254 MountImagePolicy=*|254 ExtensionImagePolicy=*|254 MemoryZSwapMax=1M
254 StartupMemoryHigh=1M|254 StartupMemoryLow=1M|254 StartupMemoryMax=100M|254 StartupMemorySwapMax=1M
254 StartupMemoryZSwapMax=1M|254 MemoryPressureWatch=on|254 MemoryPressureThresholdSec=1s|254 CoredumpReceive=yes
254 LogFilterPatterns=~x|255 NFTSet=cgroup:inet:x:y|256 MemoryZSwapWriteback=no|257 BindLogSockets=yes
257 ManagedOOMMemoryPressureDurationSec=5s|257 PrivateTmp=disconnected|257 PrivateUsers=identity|257 PrivatePIDs=yes
257 ProtectControlGroups=private|254 PrivateIPC=yes|257 ImportCredential=x:y
"""


def lines(version: int) -> list[str]:
    newer = (item.split(" ", 1) for item in NEWER.replace("\n", "|").strip("|").split("|"))
    return [
        *DIRECTIVES.replace("\n", "|").strip("|").split("|"),
        *(line for since, line in newer if int(since) <= version),
    ]


def on(machine: Machine, work: Callable[[Bus, Execution], Awaitable[None]]) -> None:
    async def within() -> None:
        async with connections(machine.bus_address, 1) as (bus,):
            await work(bus, Execution(bus, machine.path(RUN)))

    run(within(), DEADLINE)


async def ends_up(bus: Bus, unit: str, found: ServiceSettings, execution: Execution) -> ServiceSettings:
    """Return the settings of a transient unit that was created with `found`."""
    systemd = Systemd(bus)
    own = {"AddRef": ("b", True), "ExecStart": ("a(sasb)", [["/bin/true", ["/bin/true"], False]])}
    await systemd.start_transient(unit, {**found, **own, "Type": ("s", "oneshot")})
    made = await execution._properties(unit, SERVICE)
    await systemd.stop(unit)  # it need not be able to run here
    await systemd.release(unit)
    return made


@pytest.mark.thorough
def test_each_setting_is_copied(machine: Machine) -> None:
    version = int(machine.run(["systemctl", "--version"]).stdout.split()[1])
    wrong: list[str] = []

    async def one(bus: Bus, execution: Execution, number: int, line: str) -> None:
        unit = f"demo@wanted{number}.service"
        machine.write(f"{RUN}/{unit}", f"[Service]\nType=oneshot\nExecStart=/bin/true\n{line}\n")
        wanted, unset = await execution._properties(unit, SERVICE), await execution._properties(UNSET, SERVICE)
        if all(wanted[name] == unset[name] for name in COPIED & wanted.keys() - {"Slice"}):
            wrong.append(f"{line}: is not understood by systemd {version}")
            return
        try:
            found = await execution.of_unit("demo", machine.read(f"{RUN}/{unit}"))
            made = await ends_up(bus, f"demo:made{number}.service", found, execution)
        except SystemdError as error:
            wrong.append(f"{line}: {error}")
            return
        differ = [name for name in COPIED & wanted.keys() if wanted[name] != made[name]]
        wrong.extend(f"{line}: {name} {wanted[name]} {made[name]}" for name in differ)

    async def work(bus: Bus, execution: Execution) -> None:
        await Systemd(bus).subscribe()
        for number, line in enumerate(lines(version)):
            await one(bus, execution, number, line)

    on(machine, work)
    assert not wrong, "\n".join(wrong)


def test_all_settings_of_this_systemd_are_known(machine: Machine) -> None:
    async def work(_: Bus, execution: Execution) -> None:
        known = await execution._properties(UNSET, SERVICE)
        assert known.keys() - COPIED - NOT_COPIED == set()
        assert not COPIED & NOT_COPIED
        assert known.keys() >= LIMITS

    on(machine, work)


def test_units_written_for_reading_are_removed(machine: Machine) -> None:
    async def work(_: Bus, execution: Execution) -> None:
        await execution.of_unit("demo", "[Service]\nExecStart=/bin/true\n")

    before = sorted(machine.path(RUN).iterdir())
    on(machine, work)
    assert sorted(machine.path(RUN).iterdir()) == before
    machine.wait_for(lambda: "demo" not in machine.run(["systemctl", "list-units", "--all", "--plain", "demo*"]).stdout)


def test_sweep_removes_units_of_a_killed_daemon(machine: Machine) -> None:
    left = machine.path(f"{RUN}/demo@deployd1fx2.service")
    left.write_text("[Service]\nExecStart=/bin/true\n")
    machine.run(["systemctl", "restart", "deployd.service"])
    assert not left.exists()


def test_a_drop_in_that_cannot_be_loaded_is_an_error(machine: Machine) -> None:
    async def work(_: Bus, execution: Execution) -> None:
        with pytest.raises(SystemdError, match=r"cannot load demo@\S+\.service with \S+/x\.conf: "):
            await execution.of_unit("demo", "[Service]\nExecStart=/bin/true\n")

    machine.write("/etc/systemd/system/demo@.service.d/x.conf", "[Service]\nExecStart=\nType=simple\n")
    on(machine, work)


@pytest.mark.thorough
@pytest.mark.parametrize(("everywhere", "here"), [("User=daemon", "User=www-data"), ("User=daemon", "User=")])
def test_a_drop_in_for_all_services_that_overrides_is_an_error(machine: Machine, everywhere: str, here: str) -> None:
    """A transient unit reads service.d after its own properties."""

    async def work(_: Bus, execution: Execution) -> None:
        text = "[Service]\nExecStart=/bin/true\n"
        assert (await execution.of_unit("other", text))["User"] == ("s", "daemon")
        with pytest.raises(SystemdError, match=r"a drop-in for all services sets [A-Za-z]+= otherwise"):
            await execution.of_unit("demo", text)

    machine.write("/etc/systemd/system/service.d/a.conf", f"[Service]\n{everywhere}\n")
    machine.write("/etc/systemd/system/demo@.service.d/b.conf", f"[Service]\n{here}\n")
    on(machine, work)
