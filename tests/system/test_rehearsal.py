"""What the compiled hot path is rehearsed with when a wheel is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REHEARSAL = Path(__file__).parents[2] / "scripts" / "rehearse.py"
SOMEBODYS = {"ANYFC_ACCESS_KEY_ID": "somebody", "ANYFC_ACCESS_KEY_SECRET": "somebody's"}


@pytest.mark.parametrize("settings", [{}, SOMEBODYS])
def test_the_rehearsal_gets_the_right_answers_whatever_is_set_for_other_servers(settings):
    done = subprocess.run(
        [sys.executable, str(REHEARSAL), "--calls", "50"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
