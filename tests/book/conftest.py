"""The built book, and a server for it."""

import functools
import http.server
import threading
from pathlib import Path

import pytest


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        """Nothing: a page that was left takes no more of a file."""


@pytest.fixture(scope="module")
def served(request):
    """Serve a folder on this machine; the address."""

    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request.addfinalizer(server.server_close)
        request.addfinalizer(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    return serve


@pytest.fixture(scope="session")
def book():
    """The folder of the built book."""
    folder = Path(__file__).resolve().parents[2] / "_build/html"
    assert (folder / "index.html").exists(), "there is no book: run `make book` first"
    return folder
