"""What a machine allows at best: a program that only stores what comes, and one that only sends.

``receive FILE`` writes every upload to FILE, syncs it, and answers;
``send FILE`` answers every request with FILE by sendfile; ``nginx FILE`` becomes
nginx, which answers with it at its path. Each prints its port, and runs until SIGTERM.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

BUFFER = 1024 * 1024
END = b"\r\n\r\n"


def listen() -> socket.socket:
    """A listening socket on a free port, which is printed."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    return listening


def receive(path: Path) -> None:
    """Write each request's body to ``path``."""
    listening, buffer = listen(), memoryview(bytearray(BUFFER))
    while True:
        connection, _ = listening.accept()
        with connection, path.open("wb", buffering=0) as file:
            head, rest = read_head(connection)
            left = content_length(head) - file.write(rest)
            while left and (size := connection.recv_into(buffer)):
                left -= file.write(buffer[:size])
            os.fsync(file.fileno())
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def send(path: Path) -> None:
    """Answer each request with the bytes of ``path``."""
    listening = listen()
    while True:
        connection, _ = listening.accept()
        with connection, path.open("rb") as file:
            read_head(connection)
            size = path.stat().st_size
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            connection.sendfile(file)


NGINX = """
daemon off;
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
  }}
}}
"""


def nginx(path: Path) -> None:
    """Become nginx, its socket open already: so it needs no port of its own choice."""
    listening = listen()
    listening.set_inheritable(True)
    folder = path.parent.absolute()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=listening.getsockname()[1]))
    environment = os.environ | {"NGINX": f"{listening.fileno()};"}
    os.execvpe("nginx", ["nginx", "-p", str(folder), "-c", str(config)], environment)


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request, and what came behind it."""
    data = b""
    while END not in data and (piece := connection.recv(BUFFER)):
        data += piece
    head, _, rest = data.partition(END)
    return head, rest


def content_length(head: bytes) -> int:
    """The length that a head announces."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def leave(_number: int, _frame: FrameType | None) -> None:
    """End at once."""
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    {"receive": receive, "send": send, "nginx": nginx}[sys.argv[1]](Path(sys.argv[2]))
