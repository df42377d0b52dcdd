"""Standard streams, log lines, and the stacks that are logged when the time is up."""

import io
import logging
import os
import signal
import sys
import threading
import time

import frames
import now

TERMINATED = 128 + signal.SIGTERM


class Lines(logging.Handler):
    """Writes to the descriptor, so that it outlives whatever becomes of `sys.stderr`."""

    def __init__(self):
        super().__init__()
        line = logging.Formatter("%(asctime)s %(fc_request_id)s [%(levelname)s] %(message)s")
        line.converter = time.gmtime
        line.default_time_format = "%Y-%m-%dT%H:%M:%S"
        line.default_msec_format = "%s.%03dZ"
        self.setFormatter(line)

    def emit(self, record):
        record.fc_request_id = now.request_id
        try:
            rest = memoryview((self.format(record) + "\n").encode("utf-8", "surrogateescape"))
            while rest:
                rest = rest[os.write(2, rest) :]
        except Exception:
            self.handleError(record)


LINES = Lines()


def open_streams():
    """Text streams that write at once, and whose descriptors stay open when they are closed."""
    text = {"encoding": "utf-8", "errors": "surrogateescape"}
    raw = io.FileIO(0, closefd=False)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(raw), **text)
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(number, "w", closefd=False)
        raw.name = "<%s>" % name
        stream = io.TextIOWrapper(raw, newline="\n", write_through=True, **text)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)


def flush():
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:
            continue  # closed, deleted or replaced by user code: theirs to notice


def install_log():
    root = logging.getLogger()
    root.handlers[:] = [LINES]
    root.setLevel(logging.INFO)


def log_failure(text):
    try:
        logging.getLogger().error(text)
    except Exception:
        return  # a log handler of the user's that fails must not cost the answer


def install_signals():
    signal.signal(signal.SIGTERM, _end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_hold_back, after_in_parent=_let_through, after_in_child=_end_as_usual
        )
    else:
        os.fork = _guarded(os.fork)  # Python 3.6


def _guarded(fork):
    def guarded_fork():
        _hold_back()
        pid = -1
        try:
            pid = fork()
        finally:
            if pid == 0:
                _end_as_usual()
            else:
                _let_through()
        return pid

    return guarded_fork


def _hold_back():
    # Python forgets a signal that comes between a fork and the child's first steps.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _let_through():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _end_as_usual():
    """In a process that user code forked: it ends as it would without us."""
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_through()


def _end(number, frame):
    """SIGTERM: the running request has timed out, or the instance is not wanted any more."""
    try:
        if now.running:
            _log_stacks(frame)
        flush()
    finally:
        os._exit(TERMINATED)


def _log_stacks(main_frame):
    stacks = sys._current_frames()
    stacks[threading.get_ident()] = main_frame  # without the signal handler's own
    texts = ["Dumping stack trace after function timeout"]
    for thread, newest in stacks.items():
        head = "request id = {%s}, thread id = {%s}\n" % (now.request_id, thread)
        texts.append((head + frames.of_thread(newest)).rstrip())
    for text in texts:
        # Past the root logger: it may be without us by now, or another thread hold its lock.
        LINES.emit(logging.LogRecord("root", logging.ERROR, "", 0, text, None, None))
