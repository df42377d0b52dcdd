import httpx
import pytest
import typer
from typer.testing import CliRunner

from anyfc.cli.dev import Work, pack_quickly
from anyfc.cli.main import app
from anyfc.client import ApiError, Client


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "hello"
    root.mkdir()
    (root / "index.py").write_text("def handler(event, context): pass\n")
    return root


def connect(transport):
    return Client(
        "http://127.0.0.1:9000",
        access_key_id="id",
        access_key_secret="secret",
        transport=httpx.MockTransport(transport),
    )


@pytest.fixture
def work(api, folder):
    with connect(api) as client:
        yield Work(client=client, name="hello", folder=folder, settings={"timeout": 9})


def test_the_first_deployment_makes_a_function_with_an_address_and_says_where(work, api, capsys):
    assert not work.deployed
    work.begin()
    assert work.deployed
    assert [path for _, path, _ in api.sent] == [
        "/functions/hello",
        "/functions/hello/triggers/http",
    ]
    assert api.bodies[0]["timeout"] == 9
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("serving hello · python3.12 · index.handler · ")
    assert rest == [
        "at http://http-qwertzuiop.cn-hangzhou.fcapp.localhost:9000 · anonymous",
        "at http://127.0.0.1:9000/proxy/hello",
        f"watching {work.folder}; Ctrl-C ends",
    ]


def reload(work, name, text):
    path = work.folder / name
    path.write_text(text)
    work.reload([str(path)], str(work.folder))


def test_a_change_sends_the_code_and_nothing_else(work, api, capsys):
    work.begin()
    reload(work, "words.txt", "hello")
    assert (api.sent[2][:2], set(api.bodies[2])) == (("PUT", "/functions/hello"), {"code"})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("reloaded in ")
    assert last.endswith(" s · words.txt")


def test_a_file_that_is_saved_as_it_was_changes_nothing(work, api):
    work.begin()
    reload(work, "index.py", (work.folder / "index.py").read_text())
    assert len(api.sent) == 2


def test_a_mistake_is_shown_and_the_code_runs_all_the_same(work, api, capsys):
    work.begin()
    reload(work, "index.py", "def handler(\n")
    assert "index.py:1: SyntaxError" in capsys.readouterr().err
    assert len(api.sent) == 3


def test_code_that_is_refused_is_sent_again_with_the_next_change(work, api, capsys):
    work.begin()
    api.refuse["PUT", "functions"] = "EntityTooLarge"
    reload(work, "a.txt", "a")
    shown = capsys.readouterr()
    assert "not reloaded: EntityTooLarge (400)" in shown.err
    assert "reloaded in" not in shown.out
    api.refuse.clear()
    work.reload(["a.txt"], ".")
    assert len(api.sent) == 3


def test_a_folder_that_cannot_be_packed_is_shown_and_waited_for(work, api, capsys):
    work.begin()
    (work.folder / "gone").symlink_to("nowhere")
    work.reload(["gone"], ".")
    assert "not reloaded: packing failed" in capsys.readouterr().err
    assert len(api.sent) == 2


def test_a_server_that_is_gone_ends_it(work, folder):
    work.begin()

    def refuse(request):
        raise httpx.ConnectError("refused")

    with connect(refuse) as client:
        work.client = client
        with pytest.raises(ApiError, match="ConnectFailed"):
            reload(work, "a.txt", "a")


def test_a_start_that_cannot_be_meant_ends_it_with_a_hint(api, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    with connect(api) as client:
        with pytest.raises(typer.Exit):
            Work(client=client, name="e", folder=empty, settings={}).begin()
        assert "holds no files" in capsys.readouterr().err
        (empty / "app.py").touch()
        with pytest.raises(typer.Exit):
            Work(client=client, name="e", folder=empty, settings={}).begin()
    assert "holds no index.py" in capsys.readouterr().err


def test_a_large_folder_is_compressed(folder, monkeypatch):
    (folder / "zeros").write_bytes(bytes(100_000))
    assert len(pack_quickly(folder)) > 100_000
    monkeypatch.setattr("anyfc.cli.dev.STORED_BYTES", 50_000)
    assert len(pack_quickly(folder)) < 10_000


def test_a_file_is_no_folder(api, folder):
    result = CliRunner().invoke(app, ["dev", str(folder / "index.py")])
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
    assert "`anyfc deploy`" in result.stderr
