"""The context of a request: `FCContext`, in the shape of the declared runtime."""

import binascii
import json
import logging


class Part:
    """A group of values, such as `context.function`."""

    def __init__(self, **values):
        self.__dict__.update(values)


class FCContext:
    """The second argument of a handler. Old code reads it in camel case as well."""

    def __init__(self, request_id, retry_count, values):
        self.request_id = self.requestId = request_id
        self.retry_count = retry_count
        self.__dict__.update(values)

    @property
    def logger(self):
        return logging.getLogger()

    def getLogger(self):
        return logging.getLogger()


class Contexts:
    """Makes contexts out of what is fixed and what comes with each request."""

    def __init__(self, runtime, fixed):
        # Python 3.12 has no service, credentials and tracing here; use the environment there.
        self._lean = runtime == "python3.12"
        function, service = fixed["function"], fixed.get("service") or {}
        version = {
            "version_id": function.get("version_id") or "",
            "qualifier": function.get("qualifier") or "LATEST",
        }
        log = {name: service.get(name) or "" for name in ("log_project", "log_store")}
        fields = {name: function[name] for name in ("name", "handler", "memory", "timeout")}
        self._values = {
            "function": Part(**fields, **version),
            "region": fixed.get("region") or "",
            "account_id": fixed.get("account_id") or "",
        }
        self._values.update(log)
        if not self._lean:
            self._values["service"] = Part(name=service.get("name") or "", **version, **log)
            self._renew({"credentials": {}, "tracing": {}})
            self._renew(fixed)

    def make(self, meta):
        if not self._lean:
            self._renew(meta)
        return FCContext(meta["request_id"], meta.get("retry_count", 0), self._values)

    def _renew(self, given):
        if "credentials" in given:
            self._values["credentials"] = _credentials(given["credentials"] or {})
        if "tracing" in given:
            self._values["tracing"] = _tracing(given["tracing"] or {})


def _credentials(given):
    """Three strings, never None: clients sign with them."""
    key_id = given.get("access_key_id") or ""
    secret = given.get("access_key_secret") or ""
    token = given.get("security_token") or ""
    return Part(
        access_key_id=key_id,
        access_key_secret=secret,
        security_token=token,
        accessKeyId=key_id,
        accessKeySecret=secret,
        securityToken=token,
    )


def _tracing(given):
    try:
        baggages = json.loads(binascii.a2b_base64(given.get("span_baggages") or "").decode())
    except ValueError:
        baggages = {}
    return Part(
        span_context=given.get("span_context") or "",
        jaeger_endpoint=given.get("jaeger_endpoint") or "",
        span_baggages=baggages if isinstance(baggages, dict) else {},
    )
