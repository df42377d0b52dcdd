"""Stands in for the zygote: `python -I -S bootstrap_driver.py FOLDER DESCRIPTOR PROGRAM CODE`.

FOLDER holds bootstrap.py, PROGRAM is JSON. The process becomes the instance, without a jail.
"""

import json
import os
import socket
import sys
import traceback

folder, descriptor, program, code = sys.argv[1:]
sys.path.insert(0, folder)
import bootstrap  # noqa: E402

del sys.path[0]
# Imported after the bootstrap, as a zygote does to be quick.
for name in ("calendar", "email.message", "queue", "random", "secrets", "subprocess"):
    __import__(name)

status = 1
try:
    os.chdir(code)
    bootstrap.prepare()
    bootstrap.run(socket.socket(fileno=int(descriptor)), json.loads(program), code)
    status = 0
except SystemExit as error:
    status = (error.code or 0) & 0xFF
except KeyboardInterrupt:
    status = 130
except Exception:
    traceback.print_exc()
finally:
    os._exit(status)
