import pytest
from typer.testing import CliRunner

from anyfc.cli.main import app
from anyfc.cli.show import COLUMNS, print_table, render_function, render_size, row

FUNCTION = {
    "functionName": "f",
    "runtime": "python3.12",
    "handler": "index.handler",
    "memorySize": 512,
    "timeout": 3,
    "cpu": 0.35,
    "codeSize": 2048,
    "description": "",
    "layers": [],
    "environmentVariables": {"K": "v"},
    "lastModifiedTime": "2024-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (34 * 1024**2, "34.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
    ],
)
def test_sizes_have_units(size_bytes, text):
    assert render_size(size_bytes) == text


def test_a_function_fills_every_column():
    assert row(FUNCTION) == (
        "f",
        "python3.12",
        "index.handler",
        "512 MiB",
        "3 s",
        "2.0 KiB",
        "2024-01-02T03:04:05Z",
    )
    assert len(row({})) == len(COLUMNS)


def test_settings_that_are_empty_are_left_out():
    lines = [line.split(maxsplit=1) for line in render_function(FUNCTION).splitlines()]
    assert dict(lines) == {
        "functionName": "f",
        "runtime": "python3.12",
        "handler": "index.handler",
        "timeout": "3 s",
        "memorySize": "512 MiB",
        "cpu": "0.35 cores",
        "environmentVariables": '{"K": "v"}',
        "codeSize": "2048 bytes",
        "lastModifiedTime": "2024-01-02T03:04:05Z",
    }


def test_a_pipe_gets_fields_with_tabs_between_them(capsys):
    print_table(("A", "B"), [("1", "[red]2")])
    assert capsys.readouterr().out == "A\tB\n1\t[red]2\n"


def test_a_list_that_is_empty_says_whether_it_is_for_the_prefix(api):
    assert CliRunner().invoke(app, ["list"]).stderr.startswith("no functions yet")
    api.kept["/functions/f"] = FUNCTION
    result = CliRunner().invoke(app, ["list", "--prefix", "zzz"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no function has a name that begins with zzz\n"


def test_a_function_is_deleted_with_its_triggers(api):
    api.kept["/functions/f"] = {}
    for name in ("http", "timer"):
        api.kept[f"/functions/f/triggers/{name}"] = {"triggerName": name}
    result = CliRunner().invoke(app, ["delete", "f"])
    assert (result.exit_code, result.stdout) == (0, "deleted f\n")
    assert [path for _, path, _ in api.sent] == [
        "/functions/f/triggers/http",
        "/functions/f/triggers/timer",
        "/functions/f",
    ]
