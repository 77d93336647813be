"""Many streams at once in one thread: raw connections under asyncio that note when what came."""

import asyncio
import json
import time


class StreamClient:
    """One streamed request on its own connection. `raw` is what the checkers take: the body, unchunked."""

    def __init__(self, port, path, body, headers=None):
        self.port, self.path, self.body, self.headers = port, path, body, headers or {}
        self.status, self.raw, self.num_events = None, b"", 0
        self.sent_at = self.first_token_at = self.last_event_at = None
        self.longest_gap = 0.0
        self.on_event = None  # called with this client after each piece that brought events

    def head(self, payload):
        lines = [
            f"POST {self.path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(payload)}",
            "Connection: close",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def run(self):
        """Sends the request and reads the answer to its end."""
        payload = json.dumps(self.body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self.head(payload) + payload)
            self.sent_at = time.monotonic()
            head = await reader.readuntil(b"\r\n\r\n")
            self.status = int(head.split(b" ", 2)[1])
            if b"chunked" in head.lower():
                await self.read_chunks(reader)
            else:
                self.raw = await reader.read()
        finally:
            writer.close()
        return self

    async def read_chunks(self, reader):
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            pieces.append(piece)
            self.note(piece)
        await reader.readexactly(2)
        self.raw = b"".join(pieces)

    def note(self, piece):
        now = time.monotonic()
        events = piece.count(b"\n\n") - piece.count(b": ping")
        if events <= 0:
            return
        if self.first_token_at is not None:
            self.longest_gap = max(self.longest_gap, now - self.last_event_at)
        elif self.num_events > 0:
            self.first_token_at = now  # the first event is the role alone
        self.last_event_at = now
        self.num_events += events
        if self.on_event is not None:
            self.on_event(self)
