"""`anyfc serve`, where it cannot serve."""

import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def serve(tmp_path):
    def run(*arguments, **settings):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANYFC_")}
        environment |= {f"ANYFC_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "anyfc", "serve", "--data-dir", str(tmp_path / "data")]
        return subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=60
        )

    return run


def explains(done, why, hint):
    """Three lines on standard error: what could not be done, why, what to do about it."""
    doing, *rest = done.stderr.splitlines()[-3:]
    return (
        done.returncode == 2
        and not done.stdout
        and "Traceback" not in done.stderr
        and doing == "anyfc: could not serve"
        and why in rest[0]
        and hint in rest[-1]
    )


def test_a_port_that_is_taken_is_explained(serve, tmp_path):
    tmp_path.chmod(0o711)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = serve("--port", str(taken.getsockname()[1]))
    assert explains(done, "address already in use", "Choose a --port"), done.stderr


def test_an_address_that_this_machine_does_not_have_is_explained(serve, tmp_path):
    tmp_path.chmod(0o711)
    key = {"access_key_id": "id", "access_key_secret": "secret"}
    done = serve("--host", "192.0.2.1", "--port", "0", **key)
    assert explains(done, "ssign requested address", "Choose a --host"), done.stderr


def test_a_generated_key_that_nobody_has_seen_is_not_exposed(serve):
    done = serve("--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "Run `anyfc env` to see it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can make a jail")
def test_a_level_that_does_not_work_is_explained(serve):
    done = serve("--isolation", "jail", "--port", "0")
    assert explains(done, "jail: ", "`anyfc doctor` says"), done.stderr


def test_a_setting_that_cannot_be_understood_is_named(serve):
    done = serve("--isolation", "strong")
    assert done.returncode == 2
    assert "isolation: 'strong' is not one of" in done.stderr


def test_a_key_for_the_store_that_is_none_is_explained(serve):
    done = serve("--port", "0", store_key="bad")
    assert done.returncode == 2
    assert "ANYFC_STORE_KEY: a key is 32 random bytes in base64; `openssl" in done.stderr
