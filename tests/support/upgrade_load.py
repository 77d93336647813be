"""Clients that ask all the time, each on its kept connection, and never try again: what fails is counted."""

import http.client
import json
import select
import threading
import time

QUIET_S = 0.5  # a server that was taken over from closes connections that are quiet for a second
PAUSE_S = 0.02  # after a failure: who asks a dead port without end takes the machine from whoever is to come back


def body_of(number):
    """Every other one streams; every fourth goes without ignoring what the script says."""
    return {
        "prompt": [101, 102, 103 + number % 50],
        "max_tokens": 2 + number % 7,
        "ignore_eos": True,
        "temperature": 0,
        "stream": number % 2 == 0,
    }


def check(body, status, raw):
    assert status == 200, f"status {status}: {raw[:200]}"
    if not body["stream"]:
        assert json.loads(raw)["usage"]["completion_tokens"] == body["max_tokens"], raw[:200]
        return
    events = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]" and not any('"error"' in event for event in events), raw[-300:]
    finishes = [json.loads(event)["choices"][0]["finish_reason"] for event in events[:-1]]
    assert finishes[-1] == "length", raw[-300:]


def is_closed(connection):
    """By the other side: nothing else can come on one that has no request under way."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


class Kept:
    """A connection from one request to the next."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.asked_at = None

    def was_quiet(self):
        """For so long that its server may have closed it by now."""
        is_open = self.connection.sock is not None
        return is_open and self.asked_at is not None and time.monotonic() - self.asked_at > QUIET_S

    def ask(self, body):
        """The response. None, as HTTP libraries find out, too, before they take another connection: this one was closed
        while it was quiet. The time counts at which the request is out, which may be long after it was begun."""
        if self.was_quiet() and is_closed(self.connection):
            return None
        try:
            data = json.dumps(body)
            self.connection.request("POST", "/v1/completions", data, {"Content-Type": "application/json"})
        except ConnectionError:
            if self.was_quiet():
                return None
            raise
        was_quiet, self.asked_at = self.was_quiet(), time.monotonic()
        try:
            return self.connection.getresponse()
        except ConnectionError:
            if was_quiet:
                return None
            raise


class Load:
    """`choose` gives the port for the next request, and what a connection is kept under: as balancers do, one to a
    server that was restarted is not used again."""

    def __init__(self, choose, num_clients=12):
        self.choose = choose
        self.num_done = 0
        self.failures = []
        self.is_over = False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.client, args=(i,)) for i in range(num_clients)]

    def client(self, number):
        connections = {}
        turn = number
        while not self.is_over:
            turn += len(self.threads)
            body = body_of(turn)
            port, key = self.choose()
            try:
                response = connections.setdefault(key, Kept(port)).ask(body)
                if response is None:
                    connections[key].connection.close()
                    connections[key] = Kept(port)
                    response = connections[key].ask(body)
                check(body, response.status, response.read())
            except (AssertionError, OSError, http.client.HTTPException, ValueError, KeyError) as trouble:
                with self.lock:
                    self.failures.append(f"{type(trouble).__name__}: {trouble}")
                connections.pop(key).connection.close()
                time.sleep(PAUSE_S)
            with self.lock:
                self.num_done += 1
        for kept in connections.values():
            kept.connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def wait_for(self, num_done, seconds=1200):
        """Until so many more have been answered."""
        wanted, deadline = self.num_done + num_done, time.monotonic() + seconds
        while self.num_done < wanted:
            assert time.monotonic() < deadline, f"{self.num_done} answers, {wanted} expected"
            time.sleep(0.02)
