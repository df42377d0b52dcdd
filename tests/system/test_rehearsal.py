"""What the compiled hot path is rehearsed with when a wheel is built."""

import subprocess
import sys
from pathlib import Path

REHEARSAL = Path(__file__).parents[2] / "scripts" / "rehearse.py"


def test_the_rehearsal_gets_the_right_answers():
    done = subprocess.run(
        [sys.executable, str(REHEARSAL), "--calls", "50"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
