"""A server for commands that keeps what it is sent and knows nothing else."""

import json

import httpx
import pytest

import anyfc.client

MISSING = {
    "functions": "FunctionNotFound",
    "triggers": "TriggerNotFound",
    "custom-domains": "DomainNameNotFound",
}
NAMES = {"functions": "functionName", "triggers": "triggerName", "custom-domains": "domainName"}


class Api:
    """Answers as the API does. `sent` has every change: method, path, body."""

    def __init__(self):
        self.kept = {}  # path below the version → what is there
        self.sent = []
        self.own_networks = None
        self.refuse = {}  # method and last name of the collection → code of an error

    def __call__(self, request):
        if request.url.path == "/anyfc/server":
            return self._describe()
        path = request.url.path.partition("/2023-03-30")[2]
        *_, last = [part for part in path.split("/") if part in MISSING]
        code = self.refuse.get((request.method, last))
        if code:
            return httpx.Response(400, json={"Code": code, "Message": f"{code} it is"})
        if path.endswith(f"/{last}"):
            return self._collection(request, path, last)
        return self._one(request, path, last)

    def _describe(self):
        if self.own_networks is None:
            return httpx.Response(400, json={"Code": "PathNotSupported", "Message": "no"})
        return httpx.Response(200, json={"ownNetworks": self.own_networks})

    def _collection(self, request, path, kind):
        if request.method == "GET":
            owner = path.rpartition("/")[0]
            if owner and owner not in self.kept:
                return self._missing("functions")
            below = f"{path}/{request.url.params.get('prefix', '')}"
            found = [
                self.kept[one]
                for one in self.kept
                if one.startswith(below) and one.rpartition("/")[0] == path
            ]
            return httpx.Response(200, json={kind: found})
        body = json.loads(request.content)
        return self._keep(request.method, f"{path}/{body[NAMES[kind]]}", kind, body)

    def _one(self, request, path, kind):
        if path not in self.kept:
            return self._missing(kind)
        if request.method == "GET":
            return httpx.Response(200, json=self.kept[path])
        if request.method == "DELETE":
            self.sent.append(("DELETE", path, None))
            del self.kept[path]
            return httpx.Response(204)
        body = json.loads(request.content)
        return self._keep(request.method, path, kind, body)

    def _keep(self, method, path, kind, body):
        self.sent.append((method, path, body))
        name = path.rpartition("/")[2]
        new = {}
        if kind == "triggers":
            url = f"http://{name}-qwertzuiop.cn-hangzhou.fcapp.localhost:9000"
            new = {"qualifier": "LATEST", "httpTrigger": {"urlInternet": url}}
        elif kind == "custom-domains":
            new = {"authConfig": {"authType": "anonymous"}}
        elif str(body.get("runtime")).startswith("custom"):
            new = {"customRuntimeConfig": {"command": [], "args": [], "port": 9000}}
        self.kept[path] = {**new, **self.kept.get(path, {}), **body}
        return httpx.Response(200, json=self.kept[path])

    def _missing(self, kind):
        return httpx.Response(404, json={"Code": MISSING[kind], "Message": "there is none"})

    @property
    def bodies(self):
        return [body for _, _, body in self.sent]


@pytest.fixture
def api(monkeypatch, tmp_path):
    made, real = Api(), anyfc.client.Client
    monkeypatch.setattr(
        anyfc.client,
        "Client",
        lambda *place, **keys: real(*place, **keys, transport=httpx.MockTransport(made)),
    )
    monkeypatch.delenv("ANYFC_ENDPOINT", raising=False)
    monkeypatch.setenv("ANYFC_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("ANYFC_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("ANYFC_DATA_DIR", str(tmp_path / "data"))
    return made
