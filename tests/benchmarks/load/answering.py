"""A server of a few lines: it answers every request on loopback with the same bytes, from threads.

Used by the tests of the load side; it must not be the server under development.
"""

import contextlib
import socketserver
import threading
import time

from benchmarks.load.outcome import HOST, Target


class Received(list):
    """The requests, and how many connections the server has closed."""

    closed = 0

    def wait_until_closed(self, count):
        deadline = time.monotonic() + 60
        while self.closed < count and time.monotonic() < deadline:
            time.sleep(0.005)


@contextlib.contextmanager
def answering(answer, once=True):
    """Give a Target and the list of the requests that were received."""
    received = Received()

    class Connection(socketserver.BaseRequestHandler):
        def handle(self):
            while True:
                try:
                    data = self.request.recv(1 << 20)
                    while data and not whole(data):
                        data += self.request.recv(1 << 20)
                    if not data:
                        return
                    received.append(data)
                    self.request.sendall(answer)
                except OSError:
                    return
                if once:
                    return

    class Server(socketserver.ThreadingTCPServer):
        def shutdown_request(self, request):
            super().shutdown_request(request)
            received.closed += 1

    server = Server((HOST, 0), Connection)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Target(server.server_address[1]), received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(data):
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True
