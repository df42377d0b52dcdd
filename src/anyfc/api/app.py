"""The control API: the table of operations, and errors → responses."""

import logging
from collections.abc import Iterator

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anyfc.api import about, domains, download, functions, logs, triggers
from anyfc.api.body import UnreadBodies
from anyfc.api.older import operations as older
from anyfc.api.parts import Endpoint, Operations, Parts
from anyfc.errors import (
    FunctionComputeError,
    InternalServerError,
    NotSupported,
    PathNotSupported,
)
from anyfc.model.address import API_VERSION, OLDER_VERSIONS

log = logging.getLogger("anyfc")

REQUEST_ID_HEADER = "x-fc-request-id"

# Sorted as the documentation is: operation, method, path below /2023-03-30, and what serves it;
# None: not built yet. InvokeFunction is the gateway's and does not come here.
FUNCTION = "/functions/{functionName}"
OPERATIONS: Operations = (
    # Functions, versions, aliases
    ("CreateFunction", "POST", "/functions", functions.create),
    ("GetFunction", "GET", FUNCTION, functions.get),
    ("UpdateFunction", "PUT", FUNCTION, functions.update),
    ("DeleteFunction", "DELETE", FUNCTION, functions.delete),
    ("ListFunctions", "GET", "/functions", functions.list_),
    ("GetFunctionCode", "GET", FUNCTION + "/code", functions.get_code),
    ("InvokeFunction", "POST", FUNCTION + "/invocations", None),
    ("DisableFunctionInvocation", "POST", FUNCTION + "/invoke/disable", functions.disable),
    ("EnableFunctionInvocation", "POST", FUNCTION + "/invoke/enable", functions.enable),
    ("PublishFunctionVersion", "POST", FUNCTION + "/versions", None),
    ("ListFunctionVersions", "GET", FUNCTION + "/versions", None),
    ("DeleteFunctionVersion", "DELETE", FUNCTION + "/versions/{versionId}", None),
    ("CreateAlias", "POST", FUNCTION + "/aliases", None),
    ("GetAlias", "GET", FUNCTION + "/aliases/{aliasName}", None),
    ("UpdateAlias", "PUT", FUNCTION + "/aliases/{aliasName}", None),
    ("DeleteAlias", "DELETE", FUNCTION + "/aliases/{aliasName}", None),
    ("ListAliases", "GET", FUNCTION + "/aliases", None),
    # Triggers, custom domains, layers
    ("CreateTrigger", "POST", FUNCTION + "/triggers", triggers.create),
    ("GetTrigger", "GET", FUNCTION + "/triggers/{triggerName}", triggers.get),
    ("UpdateTrigger", "PUT", FUNCTION + "/triggers/{triggerName}", triggers.update),
    ("DeleteTrigger", "DELETE", FUNCTION + "/triggers/{triggerName}", triggers.delete),
    ("ListTriggers", "GET", FUNCTION + "/triggers", triggers.list_),
    ("CreateCustomDomain", "POST", "/custom-domains", domains.create),
    ("GetCustomDomain", "GET", "/custom-domains/{domainName}", domains.get),
    ("UpdateCustomDomain", "PUT", "/custom-domains/{domainName}", domains.update),
    ("DeleteCustomDomain", "DELETE", "/custom-domains/{domainName}", domains.delete),
    ("ListCustomDomains", "GET", "/custom-domains", domains.list_),
    ("CreateLayerVersion", "POST", "/layers/{layerName}/versions", None),
    ("GetLayerVersion", "GET", "/layers/{layerName}/versions/{version}", None),
    ("GetLayerVersionByArn", "GET", "/layerarn/{arn}", None),
    ("DeleteLayerVersion", "DELETE", "/layers/{layerName}/versions/{version}", None),
    ("ListLayerVersions", "GET", "/layers/{layerName}/versions", None),
    ("ListLayers", "GET", "/layers", None),
    ("PutLayerACL", "PUT", "/layers/{layerName}/acl", None),
    # Async, concurrency, scaling, instances, sessions, snapshots
    ("PutAsyncInvokeConfig", "PUT", FUNCTION + "/async-invoke-config", None),
    ("GetAsyncInvokeConfig", "GET", FUNCTION + "/async-invoke-config", None),
    ("DeleteAsyncInvokeConfig", "DELETE", FUNCTION + "/async-invoke-config", None),
    ("ListAsyncInvokeConfigs", "GET", "/async-invoke-configs", None),
    ("GetAsyncTask", "GET", FUNCTION + "/async-tasks/{taskId}", None),
    ("ListAsyncTasks", "GET", FUNCTION + "/async-tasks", None),
    ("StopAsyncTask", "PUT", FUNCTION + "/async-tasks/{taskId}/stop", None),
    ("PutConcurrencyConfig", "PUT", FUNCTION + "/concurrency", None),
    ("GetConcurrencyConfig", "GET", FUNCTION + "/concurrency", None),
    ("DeleteConcurrencyConfig", "DELETE", FUNCTION + "/concurrency", None),
    ("ListConcurrencyConfigs", "GET", "/concurrency-configs", None),
    ("PutProvisionConfig", "PUT", FUNCTION + "/provision-config", None),
    ("GetProvisionConfig", "GET", FUNCTION + "/provision-config", None),
    ("DeleteProvisionConfig", "DELETE", FUNCTION + "/provision-config", None),
    ("ListProvisionConfigs", "GET", "/provision-configs", None),
    ("PutScalingConfig", "PUT", FUNCTION + "/scaling-config", None),
    ("GetScalingConfig", "GET", FUNCTION + "/scaling-config", None),
    ("DeleteScalingConfig", "DELETE", FUNCTION + "/scaling-config", None),
    ("ListScalingConfigs", "GET", "/scaling-configs", None),
    ("ListInstances", "GET", FUNCTION + "/instances", None),
    ("CreateSession", "POST", FUNCTION + "/sessions", None),
    ("GetSession", "GET", FUNCTION + "/sessions/{sessionId}", None),
    ("UpdateSession", "PUT", FUNCTION + "/sessions/{sessionId}", None),
    ("DeleteSession", "DELETE", FUNCTION + "/sessions/{sessionId}", None),
    ("ListSessions", "GET", FUNCTION + "/sessions", None),
    ("PauseSession", "PUT", FUNCTION + "/sessions/{sessionId}/pause", None),
    ("ResumeSession", "PUT", FUNCTION + "/sessions/{sessionId}/resume", None),
    ("CreateSnapshot", "POST", FUNCTION + "/snapshots", None),
    ("GetSnapshot", "GET", FUNCTION + "/snapshots/{snapshotId}", None),
    ("DeleteSnapshot", "DELETE", FUNCTION + "/snapshots/{snapshotId}", None),
    ("ListSnapshots", "GET", "/snapshots", None),
    # VPC bindings, tags, account
    ("CreateVpcBinding", "POST", FUNCTION + "/vpc-bindings", None),
    ("ListVpcBindings", "GET", FUNCTION + "/vpc-bindings", None),
    ("DeleteVpcBinding", "DELETE", FUNCTION + "/vpc-bindings/{vpcId}", None),
    ("TagResources", "POST", "/tags-v2", None),
    ("UntagResources", "DELETE", "/tags-v2", None),
    ("ListTagResources", "GET", "/tags-v2", None),
    ("ChangeResourceGroup", "PUT", "/resource-groups", None),
    ("DescribeRegions", "GET", "/regions", None),
)

# What only anyfc has: method, path, and what serves it.
OWN: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", about.PATH, about.describe),
    ("GET", download.PATH, download.fetch),
    ("GET", logs.PATH, logs.read),
)


def build_app(parts: Parts) -> ASGIApp:
    """Return the control API as an ASGI application."""
    app = Starlette(
        routes=[
            *make_routes(API_VERSION, OPERATIONS, parts),
            *(
                route
                for version in OLDER_VERSIONS
                for route in make_routes(version, older.OPERATIONS, parts)
            ),
            *(make_route(method, path, endpoint, parts) for method, path, endpoint in OWN),
        ],
        middleware=[Middleware(Answers), Middleware(UnreadBodies)],
        exception_handlers={HTTPException: refuse},
    )
    app.router.redirect_slashes = False
    return app


def make_routes(version: str, operations: Operations, parts: Parts) -> Iterator[Route]:
    for operation, method, path, endpoint in operations:
        yield make_route(method, f"/{version}{path}", endpoint or unbuilt(operation), parts)


def make_route(method: str, path: str, endpoint: Endpoint, parts: Parts) -> Route:
    async def serve(request: Request) -> Response:
        return await endpoint(request, parts)

    route = Route(path, serve, methods=[method])
    route.methods = {method}  # HEAD is not an operation of this API
    return route


def unbuilt(operation: str) -> Endpoint:
    async def refuse_operation(request: Request, parts: Parts) -> Response:
        raise NotSupported(f"{operation} is not supported by this version of anyfc")

    return refuse_operation


async def refuse(request: Request, error: Exception) -> Response:
    """Say that a method and path lead nowhere."""
    raise PathNotSupported(request.method, request.scope["path"])


class Answers:
    """Puts the request id on every response, and turns every exception into a JSON error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Fc-Request-Id"] = request_id
            await send(message)

        # Routed as it was sent: an escaped slash must not become a border between segments.
        routed = {**scope, "path": scope["raw_path"].decode("latin-1")}
        try:
            await self._app(routed, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception as error:
            if not isinstance(error, FunctionComputeError):
                log.exception("control API failed", extra={"request_id": request_id})
                error = InternalServerError()
            # An answer that has begun is left unfinished: the server then closes the connection.
            if not started:
                await answer_error(error, request_id)(routed, receive, send_with_id)


def answer_error(error: FunctionComputeError, request_id: str) -> Response:
    content = msgspec.json.encode(error.describe(request_id))
    return Response(content, status_code=error.status, media_type="application/json")
