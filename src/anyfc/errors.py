"""Every error a caller can meet: wire code, HTTP status and message.

    FunctionComputeError
    ├── BadRequest (400)          InvalidArgument · MissingRequiredHeader · PathNotSupported
    │                             EntityTooLarge · LimitExceededError
    │                             ExternalRedirectForbidden · ApkDownloadForbidden
    ├── Unauthorized (401)
    ├── Forbidden (403)           AccessDenied · SignatureNotMatch · InvalidAccessKeyID
    ├── NotFound (404)            FunctionNotFound · VersionNotFound · AliasNotFound
    │                             ServiceNotFound · TriggerNotFound · DomainNameNotFound
    │                             DomainRouteNotFound · CodeNotFound
    ├── RequestTimeout (408)
    ├── Conflict (409)            FunctionAlreadyExists · FunctionNotEmpty · TriggerAlreadyExists
    │                             DomainNameAlreadyExists · ServiceAlreadyExists · ServiceNotEmpty
    ├── StartFailed (412)         FunctionNotStarted · CAExited · CAFileNotFound
    ├── PreconditionFailed (412)
    ├── ResourceExhausted (429)
    ├── InternalServerError (500)
    ├── NotSupported (501)
    ├── BadResponse (502) · FunctionTimeout (502)
    └── Unavailable (503)         StoreUnavailable · ServerStopping

A failure of the *user's* function is not here: it is a value, see `model/invocation.py`.

Source: the error tables of the Function Compute documentation ("Error codes", 2.0 and 3.0).
Codes that only anyfc has: `CodeNotFound`, `FunctionTimeout`, `NotSupported`,
`RequestTimeout`, `ServerStopping`, `StoreUnavailable`.
"""


class FunctionComputeError(Exception):
    """Something the caller is told about. `code` and `status` go on the wire as they are."""

    code = "InternalServerError"
    status = 500

    @property
    def message(self) -> str:
        return str(self)

    def describe(self, request_id: str) -> dict[str, str]:
        """Return the body of the answer, in the spellings of all API versions at once."""
        return {
            "Code": self.code,
            "Message": self.message,
            "RequestId": request_id,
            "ErrorCode": self.code,
            "ErrorMessage": self.message,
        }


class BadRequest(FunctionComputeError):
    status = 400


class InvalidArgument(BadRequest):
    code = "InvalidArgument"


class MissingRequiredHeader(BadRequest):
    code = "MissingRequiredHeader"

    def __init__(self, header: str) -> None:
        super().__init__(f"required HTTP header {header} was not specified")


class PathNotSupported(BadRequest):
    code = "PathNotSupported"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"'{method}' against '{path}' is not supported")


class EntityTooLarge(BadRequest):
    code = "EntityTooLarge"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"payload size exceeds maximum allowed size ({limit_bytes} bytes)")


class LimitExceededError(BadRequest):
    """There are as many of a thing as there may be."""

    code = "LimitExceededError"


class ExternalRedirectForbidden(BadRequest):
    code = "ExternalRedirectForbidden"

    def __init__(self) -> None:
        super().__init__("a default domain does not redirect; use a custom domain")


class ApkDownloadForbidden(BadRequest):
    code = "ApkDownloadForbidden"

    def __init__(self) -> None:
        super().__init__("a default domain does not serve APK files; use a custom domain")


class Unauthorized(FunctionComputeError):
    """Nothing says who calls. `challenge` is the answer's `WWW-Authenticate`."""

    code = "AccessDenied"
    status = 401

    def __init__(self, message: str, *, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class Forbidden(FunctionComputeError):
    status = 403


class AccessDenied(Forbidden):
    code = "AccessDenied"


class SignatureNotMatch(Forbidden):
    code = "SignatureNotMatch"

    def __init__(self) -> None:
        super().__init__(
            "The request signature we calculated does not match the signature you provided. "
            "Check your access key and signing method."
        )


class InvalidAccessKeyID(Forbidden):
    code = "InvalidAccessKeyID"

    def __init__(self, access_key_id: str) -> None:
        super().__init__(f"invalid access key ID '{access_key_id}'")


class NotFound(FunctionComputeError):
    status = 404


class FunctionNotFound(NotFound):
    code = "FunctionNotFound"

    def __init__(self, name: str) -> None:
        service, own_name = _parted(name)
        message = f"function '{own_name}' does not exist"
        super().__init__(f"{message} in service '{service}'" if service else f"{message}.")


class VersionNotFound(NotFound):
    code = "VersionNotFound"

    def __init__(self, version: str, function: str) -> None:
        super().__init__(f"version '{version}' of {_versioned(function)} does not exist")


class AliasNotFound(NotFound):
    code = "AliasNotFound"

    def __init__(self, alias: str, function: str) -> None:
        super().__init__(f"alias '{alias}' of {_versioned(function)} does not exist")


class ServiceNotFound(NotFound):
    code = "ServiceNotFound"

    def __init__(self, name: str) -> None:
        super().__init__(f"service '{name}' does not exist")


class TriggerNotFound(NotFound):
    code = "TriggerNotFound"

    def __init__(self, trigger: str, function: str) -> None:
        service, own_name = _parted(function)
        where = f"service '{service}' and " if service else ""
        super().__init__(f"trigger '{trigger}' does not exist in {where}function '{own_name}'")


class DomainNameNotFound(NotFound):
    code = "DomainNameNotFound"

    def __init__(self, name: str) -> None:
        super().__init__(f"domain name '{name}' does not exist")


class DomainRouteNotFound(NotFound):
    code = "DomainRouteNotFound"

    def __init__(self, domain: str, path: str) -> None:
        super().__init__(f"no route found in domain '{domain}' for path '{path}'")


class CodeNotFound(NotFound):
    code = "CodeNotFound"

    def __init__(self) -> None:
        super().__init__("this code address does not exist or has expired; ask for a new one")


class RequestTimeout(FunctionComputeError):
    code = "RequestTimeout"
    status = 408

    def __init__(self) -> None:
        super().__init__("the request did not arrive in time")


class Conflict(FunctionComputeError):
    status = 409


class FunctionAlreadyExists(Conflict):
    code = "FunctionAlreadyExists"

    def __init__(self, name: str) -> None:
        service, own_name = _parted(name)
        where = f" in service '{service}'" if service else ""
        super().__init__(f"function '{own_name}' already exists{where}")


class FunctionNotEmpty(Conflict):
    code = "FunctionNotEmpty"

    def __init__(self, name: str) -> None:
        super().__init__(f"function '{_parted(name)[1]}' has active triggers")


class ServiceAlreadyExists(Conflict):
    code = "ServiceAlreadyExists"

    def __init__(self, name: str) -> None:
        super().__init__(f"service '{name}' already exists")


class ServiceNotEmpty(Conflict):
    code = "ServiceNotEmpty"

    def __init__(self, name: str) -> None:
        super().__init__(f"service '{name}' has functions")


class TriggerAlreadyExists(Conflict):
    code = "TriggerAlreadyExists"


class DomainNameAlreadyExists(Conflict):
    code = "DomainNameAlreadyExists"

    def __init__(self, name: str) -> None:
        super().__init__(f"domain name '{name}' already exists")


class StartFailed(FunctionComputeError):
    """The server that a function brings along did not come up."""

    status = 412


class FunctionNotStarted(StartFailed):
    code = "FunctionNotStarted"


class CAExited(StartFailed):
    code = "CAExited"


class CAFileNotFound(StartFailed):
    code = "CAFileNotFound"


class PreconditionFailed(FunctionComputeError):
    code = "PreconditionFailed"
    status = 412

    def __init__(self) -> None:
        super().__init__("the resource being modified has been changed")


class ResourceExhausted(FunctionComputeError):
    code = "ResourceExhausted"
    status = 429


class InternalServerError(FunctionComputeError):
    def __init__(self, message: str = "an internal error has occurred. Please retry.") -> None:
        super().__init__(message)


class NotSupported(FunctionComputeError):
    """The call is a documented one that this version of anyfc does not offer."""

    code = "NotSupported"
    status = 501


class BadResponse(FunctionComputeError):
    """A function gave no answer that can be passed on."""

    code = "BadResponse"
    status = 502


class FunctionTimeout(FunctionComputeError):
    """A web call took longer than its function may."""

    code = "FunctionTimeout"
    status = 502


class Unavailable(FunctionComputeError):
    status = 503


class StoreUnavailable(Unavailable):
    code = "StoreUnavailable"


class ServerStopping(Unavailable):
    code = "ServerStopping"

    def __init__(self) -> None:
        super().__init__("the server is stopping; try again")


def _parted(function: str) -> tuple[str, str]:
    """Return the service and the own name of a function: `service$function`, or without one."""
    service, dollar, name = function.partition("$")
    return (service, name) if dollar else ("", function)


def _versioned(function: str) -> str:
    """Say what has versions and aliases: a function, or the service that it is made in."""
    service, own_name = _parted(function)
    return f"service '{service}'" if service else f"function '{own_name}'"
