"""Starts nginx as a reverse proxy in front of a web function's server.

One worker process, and connections to the server that are kept, as many as there is use for.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import Request, Subject
from bench.peers.program import open_program
from bench.process import Missing, free_port, listens, open_process, wait_ready

# By default nginx ends a connection after 1,000 requests: wrk would measure that too.
CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log {access_log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    map $http_upgrade $wanted {{ default upgrade; '' ''; }}
    upstream function {{
        server 127.0.0.1:{server_port};
        keepalive 128;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://function;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Connection $wanted;
            proxy_set_header Upgrade $http_upgrade;
        }}
    }}
}}
"""


@contextmanager
def open_nginx(program: Path, *, access_log: bool = False) -> Iterator[Subject]:
    """Yield when nginx listens; its log, if there is one, goes to a file, line by line."""
    nginx = find_nginx()
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="anyfc-bench-") as folder,
        open_program(program) as server,
    ):
        text = CONFIGURATION.format(
            folder=folder,
            access_log=f"{folder}/access.log" if access_log else "off",
            server_port=server.make_request().port,
            port=port,
        )
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(text)
        with open_process([nginx, "-e", "stderr", "-p", folder, "-c", configuration]) as process:
            wait_ready(process, lambda: listens(port))
            yield Subject(lambda: Request(method="GET", port=port, path="/"), process.pid)


def find_nginx() -> str:
    """Return the program. Raises Missing."""
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if nginx is None:
        raise Missing("nginx is not installed (Debian package `nginx-light`)")
    return nginx


def describe_nginx() -> str:
    """Return name and version. Raises Missing."""
    done = subprocess.run([find_nginx(), "-v"], capture_output=True, text=True)
    return done.stderr.strip().rpartition(" ")[2].replace("/", " ")
