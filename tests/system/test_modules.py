"""`anyfc modules`, with a pip that finds tiny wheels in a folder and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import KEY, error_of, invoke, make_sdk, zip_base64

from anyfc.cli.modules import choose, find_here
from anyfc.config import Config

RUNTIME = "python3.12"


def make_wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = '{version}'\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def run(tmp_path):
    """Run `anyfc modules` on a data directory; only the wheel of requests can be found."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "requests", "2.32.3")

    def modules(*arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANYFC_", "PIP_"))}
        offline = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
        }
        command = [sys.executable, "-m", "anyfc", "modules", *arguments]
        return subprocess.run(
            [*command, "--data-dir", str(tmp_path / "data")],
            env={**environment, **offline},
            capture_output=True,
            text=True,
        )

    return modules


@pytest.fixture
def folder(tmp_path):
    version = choose(RUNTIME, find_here(Config())).version
    return tmp_path / "data" / "modules" / "python{}.{}".format(*version)


def test_functions_can_import_what_was_installed_and_are_told_about_what_was_not(
    run, folder, start_server, tmp_path
):
    from alibabacloud_fc20230330.models import CreateFunctionInput, CreateFunctionRequest

    done = run(RUNTIME, "--only", "requests")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"installed in {folder}\n"

    server = start_server(data_dir=tmp_path / "data")
    sdk = make_sdk(server)
    code = "import MODULE\ndef handler(event, context):\n    return MODULE.__version__"
    for module in ("requests", "oss2"):
        wire = {
            "functionName": module,
            "runtime": RUNTIME,
            "handler": "index.handler",
            "code": {"zipFile": zip_base64({"index.py": code.replace("MODULE", module)})},
        }
        sdk.create_function(CreateFunctionRequest(body=CreateFunctionInput().from_map(wire)))
    assert invoke(sdk, "requests")[1] == b"2.32.3"
    assert error_of(invoke(sdk, "oss2")[1])["errorType"] == "ImportModuleError"

    key = {"ANYFC_ACCESS_KEY_ID": KEY[0], "ANYFC_ACCESS_KEY_SECRET": KEY[1]}
    command = [sys.executable, "-m", "anyfc", "logs", "oss2", "--endpoint", server.endpoint]
    log = subprocess.run(command, env={**os.environ, **key}, capture_output=True, text=True).stdout
    assert log.count(f"to have it here, run: anyfc modules {RUNTIME}") == 1


def test_a_failed_installation_changes_nothing(run, folder):
    assert run(RUNTIME, "--only", "requests").returncode == 0
    before = sorted(folder.rglob("*"))
    done = run(RUNTIME, "--only", "requests,oss2")
    assert done.returncode == 2
    assert "Nothing was changed" in done.stderr
    assert sorted(folder.rglob("*")) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_installing_again_replaces_what_was_there(run, folder):
    assert run(RUNTIME, "--only", "requests").returncode == 0
    (folder / "left_over.py").touch()
    assert run(RUNTIME, "--only", "requests").returncode == 0
    assert (folder / "requests").is_dir()
    assert not (folder / "left_over.py").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["python2.7"], "no such Python runtime"), ([RUNTIME, "--only", "flask"], "it brings")],
)
def test_what_cannot_be_installed_is_explained(run, arguments, says):
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
