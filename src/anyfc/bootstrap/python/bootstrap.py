"""Runs inside the sandbox: loads the handler, calls it and replies.

It shares its process with user code, so it and the modules beside it use the standard library only
and give up their names in `sys.modules` before user code is loaded. For every CPython from 3.6 on.
"""

import os
import site
import sys
import time
import types
import warnings
from importlib.machinery import PathFinder

import answer
import now
import output
import wsgi
from context import Contexts
from dialogue import (
    INITIALIZE,
    INVOKE,
    PRE_FREEZE,
    PRE_STOP,
    RAISED,
    RETURNED,
    WSGI,
    Channel,
)
from handlers import Handlers

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Read here, once for all instances: to ask every module for its file takes a millisecond after a
# fork, when each touched page is copied.
OURS = [
    entry[: -len(".py")]
    for folder in (FOLDER, FOLDER + "python")
    for entry in os.listdir(folder)
    if entry.endswith(".py")
]
# What we need ourselves, user code cannot replace. What a zygote imports after this, to be quick,
# gives way to a module of the same name in the code folder.
NEEDED = frozenset(sys.modules)

# Source: the environment that FC's built-in Python runtimes leave to user code.
VISIBLE_VARIABLES = frozenset(
    "FC_" + name
    for name in (
        "ACCOUNT_ID", "FUNCTION_HANDLER", "FUNCTION_MEMORY_SIZE", "FUNCTION_NAME", "FUNC_CODE_PATH",
        "INSTANCE_ID", "QUALIFIER", "REGION", "RUNTIME_VERSION", "SERVICE_NAME", "SNAPSHOT_FLAG",
        "VER_ID",
    )
)  # fmt: skip


def prepare():
    """Do what needs no program; a process that waits for one has it behind it then."""
    _set_interpreter()


def run(channel, program, code):
    """Answer requests on `channel` until its other end is closed; `prepare` came before.

    `program` is PROGRAM of DIALOGUE.md, `code` where the code folder is seen. What a handler raises
    that is no `Exception` comes out of here: it ends the process.
    """
    now.pid, now.code = os.getpid(), code
    dialogue = Channel(channel)
    _set_environment(program["environment"], program["runtime"])
    _set_path(program["runtime"], code, program.get("modules"))
    _leave_names(code)
    names = {
        INVOKE: program["handler"],
        WSGI: program["handler"],
        INITIALIZE: program.get("initializer") or "",
        PRE_FREEZE: program.get("pre_freeze") or "",
        PRE_STOP: program.get("pre_stop") or "",
    }
    handlers = Handlers(code)
    contexts = Contexts(program["runtime"], program["context"])
    print("FunctionCompute python3 runtime inited.")
    try:
        dialogue.hello()
        while True:
            _respond(dialogue, handlers, contexts, names, program)
    except (EOFError, OSError):
        return  # the server has gone, or user code closed the channel
    finally:
        output.flush()


def _respond(dialogue, handlers, contexts, names, program):
    """One request, from its arrival to its answer; nothing of it is kept."""
    kind, meta, event = dialogue.receive()
    now.request_id = meta["request_id"]
    now.running = True
    try:
        context = contexts.make(meta)
        handler = handlers.get(names[kind])
        if kind == INVOKE:
            body = answer.result(handler(event, context))
        elif kind == WSGI:
            body = wsgi.call(handler, meta["http"], event, context)
        else:
            handler(context)
            body = b""
        outcome = RETURNED
    except Exception as error:
        text = answer.description(error)
        advice = _advice(error, program)
        outcome = RAISED
    if os.getpid() != now.pid:
        # A child that user code forked came back through the handler: the answer is not its own.
        output.flush()
        os._exit(0 if outcome == RETURNED else 1)
    if outcome == RAISED:
        output.log_failure(text)
        if advice:
            output.log_failure(advice)
        body = text.encode()
    output.flush()
    now.running = False
    dialogue.answer(outcome, body)


def _advice(error, program):
    """What to do about a module that the cloud brings and this machine does not; or None."""
    failure = error.__cause__ or error  # a handler that cannot be imported has it as its cause
    if isinstance(failure, ModuleNotFoundError) and failure.name in program.get("preinstalled", ()):
        text = "The cloud brings the module '%s'; to have it here, run: anyfc modules %s"
        return text % (failure.name, program["runtime"])
    return None


def _set_environment(variables, runtime):
    visible = VISIBLE_VARIABLES
    if runtime == "python3.12":  # images from Debian 11 on call the version so
        visible = visible | {"FC_FUNCTION_VERSION"}
    os.environ.clear()
    for name, value in variables.items():
        if not name.startswith(("FC_", "_FC_")) or name in visible:
            os.environ[name] = value
    os.environ.setdefault("TZ", "UTC")  # the machine may have another local time than the cloud
    time.tzset()


def _set_path(runtime, code, modules):
    """User code first, then layers, then what the interpreter brings."""
    declared = "python3.6" if runtime == "python3" else runtime
    running = "python%d.%d" % sys.version_info[:2]
    path = [code]
    path += ["/opt/python/lib/%s/site-packages" % version for version in (declared, running)]
    path.append("/opt/python")
    path += os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path += [entry for entry in sys.path if not (entry + os.sep).startswith(FOLDER)]
    path.append(modules or "")
    sys.path[:] = filter(None, dict.fromkeys(path))


def _leave_names(code):
    """Give back the module names that user code may expect to be its own."""
    for name in OURS:
        sys.modules.pop(name, None)
    # Without a file: what multiprocessing spawns must not run our program again.
    sys.modules["__main__"] = types.ModuleType("__main__")
    for entry in os.listdir(code):
        name = entry.partition(".")[0]
        if name in sys.modules and name not in NEEDED:
            spec = PathFinder.find_spec(name, [code])
            if spec is not None and spec.loader is not None:
                for loaded in list(sys.modules):
                    if (loaded + ".").startswith(name + "."):
                        del sys.modules[loaded]


def _set_interpreter():
    """Make a forked, isolated interpreter look like one that was started for the function."""
    del sys.argv[1:]
    output.open_streams()
    output.install_log()
    warnings.simplefilter("ignore")
    # Compiled code would go with the instance before anybody could read it.
    sys.dont_write_bytecode = True
    site.setquit()  # -S leaves out exit() and help()
    site.sethelper()
    if sys.version_info < (3, 7) and "random" in sys.modules:
        sys.modules["random"].seed()  # later versions do it when they fork
    output.install_signals()
