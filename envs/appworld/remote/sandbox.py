"""Start a command that can see, reach and use almost nothing: the launcher of AppWorld's player and judge.

Run as ``python -I -S sandbox.py PLAN`` with a plan in JSON (:class:`Plan`). The command gets a file system of its
own that holds only what the plan binds (read-only) and one small writable folder, its own process numbers, no
network interface, no privilege that it could win back, and limits. Everything in it dies with the launcher, and the
launcher with its parent. Only the standard library is used; Linux on x86-64 or ARM64.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_NAMESPACES = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY_NOSUID = 1 | 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Plan:
    """What to run, and what it gets.

    Attributes:
        command: program and arguments; paths as seen inside.
        environment: all of its environment variables.
        isolate: make the namespaces; without, only the limits hold.
        mount_point: an empty folder outside, on which the new file system is built (seen by nobody else).
        bind: (path outside, path inside) shown read-only.
        work: the one writable folder inside, kept in memory.
        work_megabytes: its size.
        memory, file_size: bytes of address space of a process, and of one file.
        processes: number of processes and threads.
        cpu_seconds: CPU time of one process.
        inherit: file descriptors that the command keeps, besides 0, 1 and 2.
    """

    command: list[str]
    environment: dict[str, str]
    isolate: bool
    mount_point: str
    bind: list[tuple[str, str]]
    work: str
    work_megabytes: int
    memory: int
    file_size: int
    processes: int
    cpu_seconds: int
    inherit: list[int]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    def encode(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = _libc.mount(encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data))
    _check(result, f"mount {target}")


def _read_only(target: str) -> None:
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY_NOSUID, 0, 0, 0)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.sizeof(attributes)
    )
    _check(result, f"make {target} read-only")


def enter_namespaces() -> int:
    """Enter new namespaces; return the user number for the command.

    Root may do it directly, and gives the command a user number that nobody else has; anybody else does it inside
    a user namespace, where it is only shown as what it is outside.

    Raises:
        OSError: the system does not allow it.
    """
    uid, gid = os.geteuid(), os.getegid()
    stranger = 20_000 + os.getpid() % 40_000
    if uid == 0 and _libc.unshare(_NAMESPACES) == 0:
        return stranger
    _check(_libc.unshare(_NAMESPACES | _CLONE_NEWUSER), "unshare")
    inside = uid or stranger  # number 0 inside would keep its privileges when the command starts
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid or stranger} {gid} 1")
    return inside


def build_root(plan: Plan, uid: int) -> None:
    """Build the command's file system on the mount point, and make it the root."""
    root = plan.mount_point
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID, "mode=0755,size=1m")
    work = root + plan.work
    Path(work).mkdir(parents=True)
    options = f"mode=0700,size={plan.work_megabytes}m,nr_inodes=20000,uid={uid},gid={_gid(uid)}"
    _mount("tmpfs", work, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for source, target in [*plan.bind, *((f"/dev/{name}", f"/dev/{name}") for name in ("null", "zero", "urandom"))]:
        place = Path(root + target)
        if Path(source).is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        _mount(source, str(place), None, _MS_BIND | _MS_REC)
        if not target.startswith("/dev/"):
            _read_only(str(place))
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")
    _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID)


def _gid(uid: int) -> int:
    return uid if os.geteuid() == 0 else os.getegid()


def drop_privileges(uid: int) -> None:
    """Become the user ``uid`` for good."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # the kernel knows no higher one, or there is none left to drop
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit(plan: Plan) -> None:
    """Set the limits of the command and all its children."""
    limits = {
        resource.RLIMIT_AS: plan.memory,
        resource.RLIMIT_FSIZE: plan.file_size,
        resource.RLIMIT_CPU: plan.cpu_seconds,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if plan.isolate:  # outside a namespace it would count all processes of the user
        limits[resource.RLIMIT_NPROC] = plan.processes
    for which, value in limits.items():
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))


def _execute(plan: Plan) -> None:
    limit(plan)
    os.umask(0o077)
    for descriptor in plan.inherit:
        os.set_inheritable(descriptor, True)
    os.chdir(plan.work)
    os.execve(plan.command[0], plan.command, plan.environment)


def _first_process(plan: Plan, uid: int) -> int:
    """Be process 1 inside: start the command and wait for its end; leaving ends all that is still running there."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    build_root(plan, uid)
    player = os.fork()
    if player == 0:
        drop_privileges(uid)
        _execute(plan)
    for descriptor in plan.inherit:
        os.close(descriptor)
    while True:
        ended, status = os.wait()
        if ended == player:
            return os.waitstatus_to_exitcode(status)


def _die_with_parent() -> None:
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def run(plan: Plan) -> int:
    """Run the plan's command; return its exit code (128 and more: ended by a signal)."""
    _die_with_parent()
    if not plan.isolate:
        _execute(plan)
    uid = enter_namespaces()
    child = os.fork()
    if child == 0:
        try:
            os._exit(_first_process(plan, uid) & 0xFF)
        except BaseException as error:  # nothing may return into the launcher's code
            os.write(2, f"sandbox: {error}\n".encode())
            os._exit(70)
    for descriptor in plan.inherit:
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def main() -> None:
    """Run the plan given on the command line."""
    values: dict[str, Any] = json.loads(sys.argv[1])
    try:
        code = run(Plan(**values))
    except OSError as error:
        sys.stderr.write(f"sandbox: {error.strerror or error}\n")
        code = 70
    sys.exit(code)


if __name__ == "__main__":
    main()
