"""A service manager's ear: the socket that NOTIFY_SOCKET names."""

import contextlib
import os
import socket
import threading

from killing import wait_for


class NotifySocket:
    """Reads all the time, as systemd does: a server that finds the socket full waits. Use as a context manager."""

    def __init__(self, path):
        self.path, self.heard = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.thread = threading.Thread(target=self.read)

    def read(self):
        while message := self.socket.recv(100).decode():
            self.heard.append(message)

    @property
    def environment(self):
        return {**os.environ, "NOTIFY_SOCKET": str(self.path)}

    def wait_for(self, begin, seconds=120):
        """The first message that begins like this."""
        found = lambda: [message for message in self.heard if message.startswith(begin)]  # noqa: E731
        wait_for(found, f"{begin} comes, not only {self.heard}", seconds)
        return found()[0]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last, contextlib.suppress(OSError):
            last.sendto(b"", str(self.path))
        self.thread.join()
        self.socket.close()
