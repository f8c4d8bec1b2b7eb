"""Tests as users of Channels write them; `test_channels.py` runs them with `manage.py test`."""

import multiprocessing
import os
import urllib.request

from channels.testing import ChannelsLiveServerTestCase
from websockets.sync.client import connect

if os.environ.get("PROJECT_START_METHOD"):
    multiprocessing.set_start_method(os.environ["PROJECT_START_METHOD"], force=True)


class LiveServer(ChannelsLiveServerTestCase):
    """Against a server that Channels starts."""

    def test_static_files(self):
        """They are served in front of the application."""
        with urllib.request.urlopen(self.live_server_url + "/static/project.css", timeout=60) as answer:
            self.assertIn(b"teal", answer.read())

    def test_a_streaming_consumer(self):
        """It gets the whole body and answers in parts."""
        with urllib.request.urlopen(self.live_server_url + "/counting", b"x" * 100_000, 20) as answer:
            self.assertEqual(answer.read(), b"100000 bytes came")

    def test_two_clients_in_a_group(self):
        """What one says, both hear."""
        address = self.live_server_ws_url + "/chat"
        with connect(address) as one, connect(address) as other:
            one.send("hello")
            self.assertEqual([one.recv(20), other.recv(20)], ["hello", "hello"])
