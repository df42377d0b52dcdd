"""Opening an instance: its process, and what each kind of runtime needs beside it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial

from anyfc.errors import FunctionNotStarted
from anyfc.instance.lifecycle import Instance, State
from anyfc.instance.logs import Logs
from anyfc.instance.output import Output
from anyfc.instance.spec import Spec
from anyfc.runtime.builtin import Builtin
from anyfc.runtime.channel import Channel
from anyfc.runtime.custom import Connect, Custom
from anyfc.runtime.health import watched
from anyfc.sandbox.loopback import LOOPBACK, connect_loopback, is_taken
from anyfc.sandbox.network import Network, Networks
from anyfc.sandbox.process import Process, Sandbox
from anyfc.web.transport import factory


@asynccontextmanager
async def take_network(spec: Spec, networks: Networks | None) -> AsyncIterator[Network | None]:
    """Yield a network of its own for an instance that listens, where there are any.

    Raises SandboxFailed; FunctionNotStarted if its port of the host is somebody else's.
    """
    if spec.server is None or networks is None:
        if spec.server is not None and await is_taken(spec.server.port):
            raise FunctionNotStarted(
                f"port {spec.server.port} of this machine is in use, by another program or by "
                "anyfc itself (`anyfc serve --port` gives it another one), and instances have no "
                "network of their own here (`anyfc doctor` says why)"
            )
        yield None
        return
    network = await networks.take()
    try:
        yield network
    finally:
        network.close()


@asynccontextmanager
async def open_dialogue(
    spec: Spec, process: Process, network: Network | None, output: Output
) -> AsyncIterator[Builtin | Custom]:
    """Speak with the process of an instance, in the way of its runtime."""
    if spec.server is None:
        loop = asyncio.get_running_loop()
        with process.channel as end:
            channel = Channel()
            await loop.create_unix_connection(factory(lambda: channel), sock=end)
            builtin = Builtin(process, channel, start_s=spec.start_s, early=output.early)
            with closing(channel), closing(builtin):
                yield builtin
        return
    custom = Custom(
        process,
        spec.server,
        _connect_to(network, spec.server.port),
        host=network.address if network is not None else LOOPBACK,
        start_s=spec.start_s,
        early=output.early,
        spool_folder=spec.spool_folder,
    )
    with closing(custom):
        yield custom


def _connect_to(network: Network | None, port: int) -> Connect:
    return partial(network.connect if network is not None else connect_loopback, port)


@asynccontextmanager
async def open_instance(
    spec: Spec,
    sandbox: Sandbox,
    networks: Networks | None,
    logs: Logs,
    *,
    new_request_id: Callable[[], str],
    born: Callable[[], None],
) -> AsyncIterator[Instance]:
    """Yield an instance that is ready; leaving runs its pre-stop hook and ends all of it.

    One that is interrupted meanwhile ends at once.
    `born` is called when the process is up and what is left is the function's own work.
    Raises SandboxFailed, InitializerFailed, CAExited, FunctionNotStarted.
    """
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(take_network(spec, networks))
        opened = sandbox.open(spec.interpreter, spec.box, spec.program, network)
        process = await stack.enter_async_context(opened)
        key = logs.key(spec.function.name, spec.function.id)
        output = stack.enter_context(closing(Output(process.log, logs.buffer, key, spec.id)))
        dialogue = await stack.enter_async_context(open_dialogue(spec, process, network, output))
        instance = stack.enter_context(closing(Instance(spec, process, dialogue, output)))
        if isinstance(dialogue, Custom):
            born()  # its server may take minutes, and others can be started meanwhile
        await dialogue.greet()
        born()
        if spec.function.initializer is not None:
            await instance.initialize(new_request_id())
        if isinstance(dialogue, Custom):
            watching = watched(dialogue, awake=lambda: not instance.frozen)
            await stack.enter_async_context(watching)
        instance.move(State.READY)
        yield instance
        if instance.interrupted:
            return
        if instance.usable:
            instance.move(State.STOPPING)
            await instance.pre_stop(new_request_id())
        await instance.terminate()
