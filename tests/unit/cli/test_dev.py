import os

import httpx
import pytest
import typer
from typer.testing import CliRunner

from anyfc.cli.dev import Work, pack_quickly
from anyfc.cli.main import app
from anyfc.cli.source import PackageError
from anyfc.client import ApiError, Client
from anyfc.config import Config


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
def make_work(api, tmp_path, monkeypatch):
    monkeypatch.setattr("anyfc.cli.dev.find_judge", lambda function, config, here: "")
    config = Config(data_dir=tmp_path / "data")
    with connect(api) as client:
        yield lambda folder, **settings: Work(
            client=client, name=folder.name, folder=folder, settings=settings, config=config
        )


@pytest.fixture
def work(make_work, folder):
    return make_work(folder, timeout=9)


def test_the_first_deployment_makes_a_function_with_an_address_and_says_where(work, api, capsys):
    work.begin()
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
    work.reload([str(path)])


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


def test_a_mistake_is_shown_and_the_code_runs_all_the_same(work, api, capsys, monkeypatch):
    work.begin()
    work.judge = "/usr/bin/python3.12"
    monkeypatch.setattr("anyfc.cli.dev.find_mistakes", lambda paths, judge: [f"{judge}: {paths}"])
    reload(work, "index.py", "def handler(\n")
    assert capsys.readouterr().err == f"/usr/bin/python3.12: ['{work.folder}/index.py']\n"
    assert len(api.sent) == 3


def test_code_that_is_refused_is_sent_again_with_the_next_change(work, api, capsys):
    work.begin()
    api.refuse["PUT", "functions"] = "EntityTooLarge"
    reload(work, "a.txt", "a")
    shown = capsys.readouterr()
    assert "not reloaded: EntityTooLarge (400)" in shown.err
    assert "reloaded in" not in shown.out
    api.refuse.clear()
    work.try_again()
    assert len(api.sent) == 2
    work.reload(["a.txt"])
    assert len(api.sent) == 3


def test_a_folder_that_cannot_be_packed_is_shown_and_waited_for(work, api, capsys):
    work.begin()
    bad = work.folder / os.fsdecode(b"caf\xe9")
    reload(work, bad.name, "x")
    shown = capsys.readouterr().err
    assert shown.startswith("not reloaded: packing failed: ")
    assert shown.endswith("caf\\xe9: the name is not UTF-8; rename it\n")
    for _ in range(2):
        work.try_again()
    assert capsys.readouterr().err == ""
    reload(work, bad.name, "y")
    assert "not reloaded" in capsys.readouterr().err
    bad.unlink()
    reload(work, "b.txt", "b")
    assert capsys.readouterr().out.endswith(" · b.txt\n")
    assert len(api.sent) == 3


def test_what_could_not_be_packed_while_it_moved_is_packed_a_moment_later(
    work, api, capsys, monkeypatch
):
    work.begin()
    with monkeypatch.context() as moving:
        moving.setattr("anyfc.cli.dev.pack_quickly", move)
        reload(work, "a.txt", "a")
    assert "not reloaded: packing failed: it moves" in capsys.readouterr().err
    work.try_again()
    assert capsys.readouterr().out.endswith(" · a.txt\n")
    work.try_again()
    assert len(api.sent) == 3


def move(folder, data_dir):
    raise PackageError("it moves")


def test_what_is_left_out_is_said_once(work, capsys):
    (work.folder / "gone").symlink_to("/nowhere")
    work.begin()
    reload(work, "a.txt", "a")
    assert capsys.readouterr().err == f"left out: {work.folder}/gone is a link to nothing\n"
    assert [str(path) for path in work.elsewhere] == ["/nowhere"]


def test_a_server_that_is_gone_ends_it(work, folder):
    work.begin()

    def refuse(request):
        raise httpx.ConnectError("refused")

    with connect(refuse) as client:
        work.client = client
        with pytest.raises(ApiError, match="ConnectFailed"):
            reload(work, "a.txt", "a")


def test_a_start_that_cannot_be_meant_ends_it_with_a_hint(make_work, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(typer.Exit):
        make_work(empty).begin()
    assert "holds no files" in capsys.readouterr().err
    (empty / "app.py").touch()
    with pytest.raises(typer.Exit):
        make_work(empty).begin()
    assert "holds no index.py" in capsys.readouterr().err


def test_a_large_folder_is_compressed(folder, monkeypatch):
    (folder / "zeros").write_bytes(bytes(100_000))
    assert len(pack_quickly(folder, folder / "data").data) > 100_000
    monkeypatch.setattr("anyfc.cli.dev.STORED_BYTES", 50_000)
    assert len(pack_quickly(folder, folder / "data").data) < 10_000


def test_a_file_is_no_folder(api, folder):
    result = CliRunner().invoke(app, ["dev", str(folder / "index.py")])
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
    assert "`anyfc deploy`" in result.stderr


@pytest.mark.parametrize("words", [["--server-port", "0"], ["--isolation", "none"]])
def test_what_is_for_a_server_that_is_started_is_refused_with_one_that_runs(api, folder, words):
    result = CliRunner().invoke(app, ["dev", str(folder), "--endpoint", "http://h:1", *words])
    assert result.exit_code == 2
    assert "--server-port and --isolation are for a server that is started" in result.stderr


def test_a_folder_that_no_function_can_be_called_after_is_asked_about(api, tmp_path):
    (tmp_path / "1st").mkdir()
    result = CliRunner().invoke(app, ["dev", str(tmp_path / "1st"), "--endpoint", "http://h:1"])
    assert result.exit_code == 2
    assert "Give one with --name." in result.stderr
