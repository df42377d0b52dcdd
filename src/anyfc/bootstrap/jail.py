"""The box a process lives in: namespaces, mounts, identity, system call filter.

The same for every process instance, whatever its language. Standard library only, for every
CPython from 3.6 on. A zygote calls `settle` once, then `fork` and, in the child, `enter`.

What is dear is done once: `settle` puts the zygote into a mount namespace of its own and lays out
there what all boxes share (`Stage`). `enter` is left with a handful of mounts.

One module because whoever audits the walls should find all of them in one place.
"""

import ctypes
import errno
import os
import platform
import resource
import shutil
import signal
import socket
import stat
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
CLONE_NEW_ANY = 0x7E020000  # every CLONE_NEW… flag that clone(2) takes

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_LOCKED = 0x2 | 0x4 | 0x8 | 0x400 | 0x800 | 0x200000  # nosuid … relatime: kept on a remount
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

SHARED_ETC = (
    "alternatives", "ca-certificates", "fonts", "gai.conf", "host.conf", "java-17-openjdk",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types",
    "nsswitch.conf", "os-release", "debian_version", "pki", "protocols", "services", "ssl",
    "terminfo", "timezone",
)  # fmt: skip
LIVE_ETC = ("hosts", "resolv.conf")  # a laptop changes its network while the zygote lives
DEVICES = ("null", "zero", "full", "random", "urandom")

HOST_NAME = "host.anyfc.internal"  # the host, as a box with a network of its own sees it
HOSTS = "/etc/hosts"
RESOLVER = "/etc/resolv.conf"
SYSTEMD_RESOLVER = "/run/systemd/resolve/resolv.conf"

libc = ctypes.CDLL(None, use_errno=True)
with_lock = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, as a fork must


class Stage:
    """What every box of one zygote shares."""

    def __init__(self, level, uid, gid, folder):
        self.level = level
        self.uid = uid
        self.gid = gid
        self.root = os.geteuid() == 0  # root of the machine, before anything is dropped
        self.folder = folder
        self.base = folder + "/base"  # the lowest layer of every root folder
        self.shared = []  # mount points that every box shows: (path on the stage, path in the box)
        self.filter = b""


def settle(level, uid, gid, visible, folder):
    """Prepare the calling process to fork boxes of a level; OSError if the machine does not let it.

    `visible` are paths of the host that every box sees read-only; `folder` is an empty folder.
    """
    stage = Stage(level, uid, gid, folder)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if level == "none":
        return stage
    stage.filter = seccomp_filter()
    if level == "userns":
        if stage.root:
            _drop(uid, gid)
        _enter_user_namespace(os.geteuid(), os.getegid())
        stage.uid = stage.gid = 0
        _continue_as_first_process()
    else:
        _own_mounts()
    _mount("stage", folder, "tmpfs", MS_NOSUID, "mode=0755,size=64m")
    os.mkdir(folder + "/private")
    _lay_base(stage)
    _lay_devices(stage)
    for path in visible:
        _show(stage, path)
    return stage


def fork(stage, cgroup=None):
    """Fork; the child (0 is returned there) is the first process of its namespaces.

    `cgroup` is a folder's descriptor: the child is born in that control group. To move it there
    afterwards takes 10 to 30 ms on a machine with nothing else to do, because the kernel waits
    until every processor has taken notice.
    """
    flags = CLONE_INTO_CGROUP if cgroup is not None else 0
    if stage.level != "none":
        flags |= CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID
    if not flags:
        return os.fork()
    # struct clone_args: flags, three addresses, the signal at the end, six fields, the cgroup.
    return _clone(struct.pack("Q24xQ40xQ", flags, signal.SIGCHLD, cgroup or 0))


def _clone(arguments):
    """What os.fork does, around another system call."""
    python = ctypes.pythonapi
    whole = hasattr(python, "PyOS_BeforeFork")  # from 3.7 on
    if whole:
        python.PyOS_BeforeFork()
    pid = with_lock.syscall(CLONE3, arguments, len(arguments))
    number = ctypes.get_errno()
    if pid == 0:
        (python.PyOS_AfterFork_Child if whole else python.PyOS_AfterFork)()
    elif whole:
        python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, "clone3: " + os.strerror(number))
    return pid


def enter(stage, box, cgroup, network=None):
    """Put the calling process, forked with `fork`, into its box; return where its code is.

    `cgroup` is the descriptor of a `cgroup.procs` to join, `network` that of a network namespace
    to enter; each may be None.
    """
    if cgroup is not None:
        os.write(cgroup, b"0")
    os.setsid()  # `kill 0` must not reach the zygote's other children
    _limit_descriptors(box["descriptors"])
    if hasattr(os, "SCHED_BATCH"):
        # A woken function then does not push the server off the processor that woke it.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if stage.level == "none":
        return _enter_folder(stage, box)
    socket.sethostname(box["hostname"])
    if network is not None:
        # While still root: the namespace belongs to the machine's root, and what runs in the box,
        # root of a user namespace made later, has no rights over it.
        _check("setns", libc.setns(network, CLONE_NEWNET))
    _lay_root(stage, box)
    _drop(stage.uid, stage.gid)
    _enter_user_namespace(stage.uid, stage.gid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _filter_system_calls(stage.filter)
    os.chdir("/code")
    return "/code"


def guard(stage, main):
    """Be the first process of a box: end when `main` does, and reap what it leaves behind.

    Were the function itself the first process, it could not kill itself, and the children of its
    children would stay zombies. Does not return.
    """
    if stage.root and stage.level != "userns":
        # Not dumpable after this: the function, the same user, cannot look into us.
        os.setgroups([])
        os.setresgid(stage.gid, stage.gid, stage.gid)
        os.setresuid(stage.uid, stage.uid, stage.uid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(main, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    pid = 0
    while pid != main:
        pid, status = os.wait()
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


# --- the stage ---------------------------------------------------------------------------------


def _lay_base(stage):
    """The parts of a root folder that are no mounts: folders, links, and a small /etc."""
    base = stage.base
    for path in ("", "/code", "/dev", "/etc", "/opt", "/proc", "/root", "/run", "/usr", "/var",
                 "/var/fc", "/var/fc/modules", "/var/log"):  # fmt: skip
        os.mkdir(base + path, 0o755)
    os.mkdir(base + "/tmp", 0o1777)
    os.chmod(base + "/tmp", 0o1777)
    os.symlink("/tmp", base + "/var/tmp")
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        if os.path.islink("/" + name):
            os.symlink(os.readlink("/" + name), base + "/" + name)
    _write(base + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    _write(base + "/etc/group", "root:x:0:\n")
    for name in SHARED_ETC + LIVE_ETC:
        source = "/etc/" + name
        target = base + source
        try:
            if os.path.islink(source) and name not in (*LIVE_ETC, "localtime", "os-release"):
                os.symlink(os.readlink(source), target)
            elif os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, ignore=_unreadable)
            elif os.path.exists(source):
                shutil.copyfile(source, target)
        except PermissionError:
            continue  # the box cannot read it either
    if stage.uid:
        for folder, _, files in os.walk(base):
            for path in [folder] + [folder + "/" + name for name in files]:
                os.lchown(path, stage.uid, stage.gid)


def _unreadable(folder, names):
    """Keys and the like stay out, also when the zygote could read them as root."""
    out = []
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if not stat.S_ISLNK(mode) and not mode & stat.S_IROTH:
            out.append(name)
    return out


def _lay_devices(stage):
    dev = stage.folder + "/dev"
    os.mkdir(dev)
    _mount("dev", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k")
    for name in DEVICES:
        _write(dev + "/" + name, "")
        _mount("/dev/" + name, dev + "/" + name, None, MS_BIND)
    os.mkdir(dev + "/shm")
    os.symlink("/proc/self/fd", dev + "/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink("/proc/self/fd/%d" % number, dev + "/" + name)
    _read_only(dev)
    stage.shared.append((dev, "/dev"))


def _show(stage, path):
    """Bind a path of the host read-only; the boxes clone that mount, flags and all."""
    if not os.path.exists(path) or os.path.islink(path):
        return
    place = "%s/visible%d" % (stage.folder, len(stage.shared))
    folder = os.path.isdir(path)
    if folder:
        os.mkdir(place)
        os.makedirs(stage.base + path, exist_ok=True)
    else:
        _write(place, "")
        os.makedirs(os.path.dirname(stage.base + path), exist_ok=True)
        _write(stage.base + path, "")
    _mount(path, place, None, MS_BIND | MS_REC)
    _read_only(place)
    stage.shared.append((place, path))


def _read_only(place):
    # Inside a user namespace a remount must keep the flags that the mount was given outside.
    locked = os.statvfs(place).f_flag & MS_LOCKED
    _mount("none", place, None, MS_BIND | MS_REMOUNT | MS_RDONLY | locked)


# --- one box -----------------------------------------------------------------------------------


def _lay_root(stage, box):
    """Make the root folder of this box and move into it; nothing of the host stays in reach."""
    private = stage.folder + "/private"
    options = "mode=0755,size=%dm,uid=%d,gid=%d" % (box["disk_mib"], stage.uid, stage.gid)
    _mount("private", private, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name in ("upper", "work", "root", "tmp", "shm"):
        os.mkdir(private + "/" + name)
        os.chown(private + "/" + name, stage.uid, stage.gid)
    for name in ("tmp", "shm"):
        os.chmod(private + "/" + name, 0o1777)
    root = private + "/root"
    # Earlier lower folders win. Code lies in `…/code`, a layer in `…/opt`.
    lower = [os.path.dirname(path) for path in [box["code"]] + box["layers"]] + [stage.base]
    options = "lowerdir=%s,upperdir=%s/upper,workdir=%s/work" % (
        ":".join(_escape(path) for path in lower), _escape(private), _escape(private)
    )  # fmt: skip
    if stage.level == "userns":
        options += ",userxattr"
    _mount("root", root, "overlay", MS_NOSUID | MS_NODEV, options)
    for place, path in stage.shared:
        _mount(place, root + path, None, MS_BIND | MS_REC)
    if box["modules"]:
        _mount(box["modules"], root + "/var/fc/modules", None, MS_BIND)
        _read_only(root + "/var/fc/modules")
    _mount(private + "/tmp", root + "/tmp", None, MS_BIND)
    _mount(private + "/shm", root + "/dev/shm", None, MS_BIND)
    _mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if box["network"]:
        _write_network_files(stage, root, box["hostname"], box["network"])
    else:
        _refresh_network_files(stage, root)
    os.chdir(root)
    _check("pivot_root", libc.syscall(PIVOT_ROOT, b".", b"."))
    _check("umount2", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def _refresh_network_files(stage, root):
    for name in LIVE_ETC:
        source = "/etc/" + name
        try:
            if os.stat(source).st_mtime > os.stat(stage.base + source).st_mtime:
                shutil.copyfile(source, root + source)
        except OSError:
            continue  # the host has no such file, or not any more


def _write_network_files(stage, root, hostname, network):
    """For a box whose loopback is its own: what the host's files say of loopback is not true."""
    texts = {
        "hosts": hosts_text(_read(HOSTS), hostname, network["address"], network["gateway"]),
        "resolv.conf": resolver_text(_read(RESOLVER), _read(SYSTEMD_RESOLVER)),
    }
    for name, text in texts.items():
        path = root + "/etc/" + name
        if os.path.lexists(path):
            os.unlink(path)
        _write(path, text)
        os.chown(path, stage.uid, stage.gid)


def hosts_text(text, hostname, address, gateway):
    """Return /etc/hosts of a box: the names of a host's file but for those on its loopback."""
    own = ["127.0.0.1\tlocalhost", "::1\tlocalhost", address + "\t" + hostname,
           gateway + "\t" + HOST_NAME]  # fmt: skip
    known = [line for line in text.splitlines() if line.strip() and not _of_loopback(line.split())]
    return "\n".join(own + known) + "\n"


def resolver_text(text, behind):
    """Return /etc/resolv.conf of a box.

    `behind` is what systemd-resolved asks for the programs of the host, which ask it on loopback.
    """
    servers = [line.split() for line in text.splitlines() if line.startswith("nameserver")]
    return behind if behind and all(_of_loopback(words[1:]) for words in servers) else text


def _of_loopback(words):
    return bool(words) and (words[0].startswith("127.") or words[0] == "::1")


def _enter_folder(stage, box):
    """Level none: private copies in a folder instead of mounts, and no more rights than needed."""
    code = box["scratch"] + "/code"
    shutil.copytree(box["code"], code, symlinks=True)
    os.mkdir(box["scratch"] + "/tmp", 0o700)
    if stage.root:
        for folder, names, files in os.walk(box["scratch"]):
            for name in [".", *names, *files]:
                os.lchown(os.path.join(folder, name), stage.uid, stage.gid)
        _drop(stage.uid, stage.gid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.chdir(code)
    return code


def _limit_descriptors(number):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    except ValueError:  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), min(number, hard)))


def _drop(uid, gid):
    """Become an unprivileged user; a no-op for ids that the process has already."""
    if os.geteuid() != uid or uid:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # Changing ids made /proc/self belong to root, and the id maps are written through it.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def _enter_user_namespace(uid, gid):
    """Become uid 0 of a user namespace that knows this one user only."""
    _check("unshare", libc.unshare(CLONE_NEWUSER))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "0 %d 1" % uid)
    _write("/proc/self/gid_map", "0 %d 1" % gid)


def _own_mounts():
    _check("unshare", libc.unshare(CLONE_NEWNS))
    _mount("none", "/", None, MS_REC | MS_PRIVATE)


def _continue_as_first_process():
    """Go on as the first process of a PID namespace: with us goes everything that we forked."""
    _check("unshare", libc.unshare(CLONE_NEWPID))
    pid = os.fork()
    if pid:
        status = os.waitpid(pid, 0)[1]
        os._exit(status >> 8)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # /proc still shows the namespace that we left; `tree` in the zygote needs ours.
    _own_mounts()
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


# --- the system call filter --------------------------------------------------------------------

# What changes the machine or the box itself, or has a record of kernel holes. Everything else a
# program may do is left alone: functions are ordinary programs. Numbers: x86-64, aarch64.
REFUSED = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280),
    "chroot": (161, 51), "clock_adjtime": (305, 266), "clock_settime": (227, 112),
    "delete_module": (176, 106), "fanotify_init": (300, 262), "finit_module": (313, 273),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104),
    "keyctl": (250, 219), "lookup_dcookie": (212, 18), "mount": (165, 40),
    "mount_setattr": (442, 442), "move_mount": (429, 429), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241),
    "pivot_root": (155, 41), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "quotactl": (179, 60), "reboot": (169, 142), "request_key": (249, 218), "setns": (308, 268),
    "settimeofday": (164, 170), "swapoff": (168, 225), "swapon": (167, 224),
    "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "userfaultfd": (323, 282), "vhangup": (153, 58),
}  # fmt: skip
CLONE3 = 435
MACHINES = {"x86_64": (0xC000003E, 0, 56), "aarch64": (0xC00000B7, 1, 220)}
PIVOT_ROOT = REFUSED["pivot_root"][1 if platform.machine() == "aarch64" else 0]

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
ANSWER = 0x06  # BPF_RET | BPF_K
ALLOW = 0x7FFF0000
FAIL = 0x00050000  # | errno
KILL = 0x80000000
X32_BIT = 0x40000000


def seccomp_filter():
    """Return the filter as BPF code; OSError on a machine whose call numbers are not known here."""
    if platform.machine() not in MACHINES:
        raise OSError(errno.ENOSYS, "no system call filter for " + platform.machine())
    architecture, column, clone = MACHINES[platform.machine()]
    numbers = sorted(row[column] for row in REFUSED.values() if row[column] is not None)
    code = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, architecture),
        (ANSWER, 0, 0, KILL),
        (LOAD, 0, 0, 0),
        (AT_LEAST, 0, 1, X32_BIT),
        (ANSWER, 0, 0, FAIL | errno.ENOSYS),
        # The flags of clone3 are behind a pointer; without it the C library falls back to clone.
        (EQUAL, 0, 1, CLONE3),
        (ANSWER, 0, 0, FAIL | errno.ENOSYS),
    ]
    for number in numbers:
        code += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, FAIL | errno.EPERM)]
    code += [
        (EQUAL, 0, 3, clone),
        (LOAD, 0, 0, 16),
        (ANY_BIT, 0, 1, CLONE_NEW_ANY),
        (ANSWER, 0, 0, FAIL | errno.EPERM),
        (ANSWER, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _filter_system_calls(code):
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    _check("prctl", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    pointer = ctypes.create_string_buffer(program, len(program))
    _check("prctl", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, pointer, 0, 0))


# --- thin wrappers -----------------------------------------------------------------------------


def _mount(source, target, kind, flags, options=""):
    result = libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() if kind else None,
        ctypes.c_ulong(flags), os.fsencode(options),
    )  # fmt: skip
    _check("mount %s on %s" % (source, target), result)


def _check(what, result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def _escape(path):
    """Overlay takes its folders in one text, where colon, comma and backslash mean something."""
    for mark in "\\:,":
        path = path.replace(mark, "\\" + mark)
    return path


def _read(path):
    """Return the text of a file, empty if there is none."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
