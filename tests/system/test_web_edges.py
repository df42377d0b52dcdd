"""HTTP between a client and a function's own server where it is not as usual.

Source: runtime.md 4.2 to 4.4 (pass-through, WebSocket), 8.8 (hang-ups).
"""

import socket
from collections.abc import Callable, Iterator
from urllib.parse import quote_from_bytes

import pytest
from support import ServerProcess, error_of
from web_functions import Web, deploying, read_folder
from wire import Raw, ask_once

KIB = 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def create(start_server: Callable[..., ServerProcess]) -> Iterator[Callable[..., Web]]:
    """Deploy a server that shows requests; its clients have not much patience from the server."""
    with deploying(start_server(env={"ANYFC_BODY_STALL_S": "2"})) as deploy:
        yield lambda **settings: deploy(read_folder("mirror"), "python3", "server.py", **settings)


@pytest.fixture(scope="module")
def web(create: Callable[..., Web]) -> Web:
    return create()


def lines_of(shown: bytes) -> list[bytes]:
    """The head of a request as the function's server got it, in lower case."""
    return shown.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")


def test_a_client_cannot_speak_for_the_platform_with_underscores(web: Web) -> None:
    forged = [("X_Fc_Control_Path", "/invoke"), ("X_Forwarded_For", "1.2.3.4"), ("A_B", "c")]
    shown = lines_of(web.ask("GET", "/", headers=forged).body)
    assert [line for line in shown if b"_" in line.partition(b":")[0]] == [b"a_b: c"]
    assert b"x-fc-control-path: /http-invoke" in shown


@pytest.mark.parametrize("wanted", ["h2c", "raw, websocket"])
def test_an_upgrade_that_is_not_offered_leaves_an_ordinary_request(web: Web, wanted: str) -> None:
    with Raw(web.server) as client:
        headers = [("Connection", "Upgrade"), ("Upgrade", wanted)]
        answer = client.ask(web.request("GET", "/a", headers=headers))
        assert answer.status == 200
        assert not [line for line in lines_of(answer.body) if line.startswith(b"upgrade")]
        assert client.ask(web.request("GET", "/b")).body.startswith(b"GET /b ")


def test_a_switch_to_what_was_not_asked_for_is_a_bad_response(web: Web) -> None:
    switch = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    headers = [("Connection", "Upgrade"), ("Upgrade", "raw")]
    answer = web.ask("GET", f"/~raw?{quote_from_bytes(switch)}", headers=headers)
    assert (answer.status, error_of(answer.body)["Code"]) == (502, "BadResponse")


def test_early_hints_reach_the_client(web: Web) -> None:
    said = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Fc-A: b\r\n\r\n" + OK
    request = web.request(
        "GET", f"/~raw?{quote_from_bytes(said)}", headers=[("Connection", "close")]
    )
    hint, answer = ask_once(web.server, request)
    assert (hint.status, hint.headers[b"link"]) == (103, b"</a>")
    assert b"x-fc-a" not in hint.headers
    assert (answer.status, answer.body) == (200, b"ok")


def test_an_old_client_without_a_host_is_served(web: Web) -> None:
    with Raw(web.server) as client:
        client.send(f"GET /proxy/{web.name}/a HTTP/1.0\r\n\r\n".encode())
        (answer,) = client.read_to_end()
    shown = lines_of(answer.body)
    assert shown[0] == b"get /a http/1.1"
    assert [line for line in shown if line.startswith(b"host:")] == [b"host: 127.0.0.1:9000"]
    assert b"x-fc-base-path: /a" in shown


@pytest.mark.parametrize("tail", [[], [("X-Fc-Log-Type", "Tail")]])
def test_the_answer_to_head_says_what_the_server_said(
    web: Web, tail: list[tuple[str, str]]
) -> None:
    headers = [("Connection", "close"), *tail]
    for said in (b"Content-Length: 55\r\n", b"Transfer-Encoding: chunked\r\n"):
        raw = quote_from_bytes(b"HTTP/1.1 200 OK\r\n" + said + b"\r\n")
        with Raw(web.server) as client:
            client.send(web.request("HEAD", f"/~raw?{raw}", headers=headers))
            head = b""
            while data := client.socket.recv(64 * KIB):
                head += data
        assert b"\r\n" + said in head
        assert (b"\r\nX-Fc-Log-Result: " in head) is bool(tail)


def test_who_hangs_up_while_the_server_does_not_read_is_noticed(create: Callable[..., Web]) -> None:
    web = create()
    with Raw(web.server) as client:
        client.send(web.request("POST", "/~never", bytes(1024 * KIB)))
        web.wait_line("FC Invoke Start")
    web.wait_line("Error: Invocation canceled by client")


def test_who_reads_nothing_is_cut_off_and_nobody_says_that_he_left(
    create: Callable[..., Web],
) -> None:
    web = create()
    with Raw(web.server, receive_bytes=64 * KIB) as client:
        client.send(web.request("GET", "/~big?64"))
        line = web.wait_line("Error")
        assert "Error: The client read nothing of its answer for 2 seconds (duration: " in line
        with pytest.raises((ConnectionError, socket.timeout)):
            client.read()
