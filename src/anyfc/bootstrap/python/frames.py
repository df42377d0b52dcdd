"""Stack frames as user code may see them: without ours, and with the code folder as /code."""

import os
import traceback

import now

OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
FRAMES = 100
LINE_CHARACTERS = 500


def of_error(error, *besides):
    """The frames of an exception, oldest first, each as the strings that FC shows.

    Those of our own are not among them, nor those of code in the folders `besides`.
    """
    walk = traceback.walk_tb(error.__traceback__)
    return [
        list(filter(None, (shown('File "%s"' % file), "line %s" % number, "in " + place, line)))
        for file, number, place, line in _users(walk, besides)
    ]


def last_lines(error):
    """The exception itself, without its frames, as lines."""
    lines = "".join(traceback.format_exception_only(type(error), error)).splitlines()
    return [shown(line.rstrip())[:LINE_CHARACTERS] for line in lines]


def all_lines(error):
    """Frames and exception as lines."""
    return [", ".join(frame[:3]) for frame in of_error(error)] + last_lines(error)


def of_thread(newest):
    """The stack of a running thread as text, oldest frame first."""
    walk = reversed(list(traceback.walk_stack(newest)))
    return shown("".join(traceback.format_list(list(_users(walk)))))


def shown(text):
    return text if now.code == "/code" else text.replace(now.code + "/", "/code/")


def _users(walk, besides=()):
    """(file, line number, function, line) of the frames above our first one, without ours."""
    frames = list(walk)
    first = next((at for at, (frame, _) in enumerate(frames) if _is_in(frame, OWN_FOLDER)), 0)
    folders = (OWN_FOLDER, *besides)
    frames = [pair for pair in frames[first:] if not _is_in(pair[0], folders)]
    if len(frames) > FRAMES:
        frames = frames[: FRAMES // 2] + frames[-FRAMES // 2 :]
    for frame in traceback.StackSummary.extract(iter(frames)):
        yield frame.filename, frame.lineno, frame.name, (frame.line or "")[:LINE_CHARACTERS]


def _is_in(frame, folders):
    return frame.f_code.co_filename.startswith(folders)
