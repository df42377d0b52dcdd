"""The other end of the bare pipe: answers each event with 11 bytes. Argument: a descriptor."""

import socket
import sys


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as pipe:
        while pipe.recv(65536):
            pipe.sendall(b"hello world")


if __name__ == "__main__":
    main()
