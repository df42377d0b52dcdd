"""Code packages: a program of `functions/` and the installed libraries that it imports."""

import io
import zipfile
from importlib.metadata import distribution
from pathlib import Path

FUNCTIONS = Path(__file__).with_name("functions")
HANDLER = FUNCTIONS / "index.py"
SERVER = FUNCTIONS / "server.py"
ECHO = FUNCTIONS / "echo.py"
APP = FUNCTIONS / "app.py"

LIBRARIES: dict[Path, tuple[str, ...]] = {
    HANDLER: (),
    SERVER: ("httptools", "uvloop"),
    ECHO: ("uvloop", "websockets"),
    APP: ("flask", "blinker", "click", "itsdangerous", "jinja2", "markupsafe", "werkzeug"),
}
IMPORTED = (".py", ".so")


def make_package(program: Path, *, name: str = "") -> bytes:
    """Return a program's package; with a `name` in it, it is unlike any other."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.write(program, program.name)
        if name:
            archive.writestr("name.txt", name)
        for library in LIBRARIES[program]:
            for file in distribution(library).files or ():
                if file.suffix in IMPORTED:
                    archive.write(str(file.locate()), str(file))
    return buffer.getvalue()
