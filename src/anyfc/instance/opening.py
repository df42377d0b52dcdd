"""What an instance of each kind of runtime needs beside its process: a network, a dialogue."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from anyfc.errors import FunctionNotStarted
from anyfc.instance.output import Output
from anyfc.instance.spec import Spec
from anyfc.runtime.builtin import Builtin, open_builtin
from anyfc.runtime.custom import Connect, Custom, open_custom
from anyfc.sandbox.loopback import LOOPBACK, connect_loopback, is_taken
from anyfc.sandbox.network import Network, Networks
from anyfc.sandbox.process import Process


@asynccontextmanager
async def take_network(spec: Spec, networks: Networks | None) -> AsyncIterator[Network | None]:
    """Yield a network of its own for an instance that listens, where there are any.

    Raises SandboxFailed; FunctionNotStarted if its port of the host is somebody else's.
    """
    if spec.server is None or networks is None:
        if spec.server is not None and await is_taken(spec.server.port):
            raise FunctionNotStarted(
                f"port {spec.server.port} of this machine is in use by another program, and "
                "instances have no network of their own here (`anyfc doctor` says why)"
            )
        yield None
        return
    network = await networks.take()
    try:
        yield network
    finally:
        network.close()


def open_dialogue(
    spec: Spec, process: Process, network: Network | None, output: Output
) -> AbstractAsyncContextManager[Builtin | Custom]:
    """Speak with the process of an instance, in the way of its runtime."""
    if spec.server is None:
        return open_builtin(process, start_s=spec.start_s, early=output.early)
    return open_custom(
        process,
        spec.server,
        _connect_to(network, spec.server.port),
        host=network.address if network is not None else LOOPBACK,
        start_s=spec.start_s,
        early=output.early,
        spool_folder=spec.spool_folder,
    )


def _connect_to(network: Network | None, port: int) -> Connect:
    return partial(network.connect if network is not None else connect_loopback, port)
