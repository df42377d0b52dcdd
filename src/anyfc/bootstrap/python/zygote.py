"""A warm Python that forks instances: no threads, no event loop, because it forks.

Started by the server as `python -I -S -W ignore zygote.py FD`; what it says and hears is the
zygote dialogue of DIALOGUE.md. It ends, and everything it forked with it, when the server does.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import bootstrap  # noqa: E402
import execute  # noqa: E402
import jail  # noqa: E402

del sys.path[:2]

PACKET_BYTES = 128 * 1024

# What functions usually import: loaded once here, shared by every instance.
WARM = (
    "argparse", "ast", "asyncio", "base64", "calendar", "collections", "concurrent.futures",
    "configparser", "contextlib", "copy", "csv", "ctypes", "datetime", "decimal", "email.message",
    "email.utils", "encodings.idna", "enum", "functools", "getpass", "glob", "gzip", "hashlib",
    "hmac", "html", "http.client", "http.cookiejar", "http.cookies", "inspect", "io", "itertools",
    "json", "locale", "logging", "logging.handlers", "math", "mimetypes", "multiprocessing",
    "numbers", "operator", "pathlib", "pickle", "platform", "pprint", "queue", "random", "re",
    "secrets", "select", "shutil", "signal", "socket", "ssl", "stat", "statistics", "string",
    "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "types",
    "typing", "unicodedata", "urllib.error", "urllib.parse", "urllib.request", "uuid", "warnings",
    "weakref", "xml.etree.ElementTree", "zipfile", "zlib",
)  # fmt: skip


class Zygote:
    def __init__(self, control):
        self.control = control
        self.stage = None
        self.names = {}  # process id → id given by the server

    def serve(self):
        """Do what the server asks until it closes its end."""
        wake, wake_write = os.pipe()
        for end in (wake, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.say(op="hello", python="%d.%d.%d" % sys.version_info[:3])
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll()]
            if wake in ready:
                os.read(wake, 4096)
                self.reap()
            if self.control.fileno() in ready and not self.hear():
                return

    def say(self, **packet):
        self.control.send(json.dumps(packet).encode())

    def hear(self):
        """Take one packet and act on it; False at the end of the dialogue."""
        text, descriptors = receive(self.control)
        if not text:
            return False
        packet = json.loads(text.decode())
        operation = packet["op"]
        if operation == "settle":
            self.settle(packet)
        elif operation == "fork":
            self.fork(packet, descriptors)
        elif operation == "signal":
            self.signal(packet["id"], packet["signal"])
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def settle(self, packet):
        try:
            self.stage = jail.settle(
                packet["level"], packet["uid"], packet["gid"], packet["visible"], packet["folder"]
            )
        except OSError as error:
            self.say(op="settled", problem=str(error))
        else:
            self.say(op="settled", problem="")

    def fork(self, packet, descriptors):
        name = packet["id"]
        try:
            pid = jail.fork(self.stage, descriptors[1] if len(descriptors) > 1 else None)
        except OSError as error:
            self.say(op="failed", id=name, reason=str(error))
            return
        if pid == 0:
            leave(become, self.stage, socket.socket(fileno=descriptors[0]))
        self.names[pid] = name
        self.say(op="started", id=name, pid=pid)

    def signal(self, name, number):
        for pid, known in self.names.items():
            if known == name:
                # A box with a PID namespace goes with its first process; others are walked.
                walk = self.stage.level == "none" or number != signal.SIGKILL
                whole = walk and number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
                send(number, tree(pid) if whole else [pid])

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.names.pop(pid, None)
            if name is not None:
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self.say(op="exited", id=name, status=code)
                if self.stage.level == "none":
                    self.kill_orphans()

    def kill_orphans(self):
        """What outlived the first process of its box is our child now; nobody else ends it."""
        for pid in children(os.getpid()):
            if pid not in self.names:
                send(signal.SIGKILL, tree(pid))

    def end(self):
        for _ in range(2):  # again, for what was forked in between
            send(signal.SIGKILL, tree(os.getpid())[1:])


def receive(control):
    """Return one packet and the descriptors that came with it."""
    space = socket.CMSG_SPACE(4 * 4)
    text, ancillary, _, _ = control.recvmsg(PACKET_BYTES, space)
    return text, [
        int.from_bytes(content[start : start + 4], sys.byteorder)
        for _, _, content in ancillary
        for start in range(0, len(content) - 3, 4)
    ]


def children(pid):
    try:
        threads = os.listdir("/proc/%d/task" % pid)  # each has its own
    except OSError:
        return []
    found = []
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread)) as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue  # it has just ended
    return found


def tree(pid):
    """The process and all below it, parents first."""
    found = [pid]
    for process in found:
        found += children(process)
    return found


def send(number, processes):
    for process in processes:
        try:
            os.kill(process, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or become another user by a program that may


def become(stage, door):
    """In the child: wait at the door for a box and a program, enter the one and run the other."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    # Nothing of the zygote's may stay open.
    os.closerange(3, door.fileno())
    os.closerange(door.fileno() + 1, 64)
    # Held back until both know what to do with it: the first process of a namespace loses signals
    # that it has no handler for.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    main = os.fork()
    if main:
        door.close()
        jail.guard(stage, main)
    bootstrap.prepare()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    text, descriptors = receive(door)
    door.close()
    if not text:
        return  # not needed any more
    packet = json.loads(text.decode())
    for target in (1, 2):
        os.dup2(descriptors[1], target)
    try:
        passed = dict(zip(packet["passed"], descriptors))  # noqa: B905  # strict= is not in 3.6
        code = jail.enter(stage, packet["box"], passed.get("cgroup"), passed.get("network"))
    except OSError as error:
        os.write(2, str(error).encode())
        raise SystemExit(70) from None
    program = packet["program"]
    if program is None:
        return  # only the box was to be tried
    if "argv" in program:
        execute.execute(program["argv"], program["environment"], code)
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    bootstrap.run(socket.socket(fileno=descriptors[0]), program, code)


def leave(body, *arguments):
    """Run the child's part and end as an interpreter would, without returning to the zygote's."""
    status = 1
    try:
        body(*arguments)
        status = 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            status = (error.code or 0) & 0xFF
        else:
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
        except BaseException:
            status = status or 1
        os._exit(status)


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    os.umask(0o022)  # the server's is stricter
    for name in WARM:
        try:
            __import__(name)
        except ImportError:
            continue  # an interpreter built without it
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()  # the collector then leaves the shared pages alone
    zygote = Zygote(control)
    try:
        zygote.serve()
    finally:
        zygote.end()


if __name__ == "__main__":
    main()
