"""The data directory of a server, where it is not that server's alone."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_data_directory_that_others_can_write_to_is_not_served(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANYFC_")}
    command = [sys.executable, "-m", "anyfc", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"run: chmod go-w {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
