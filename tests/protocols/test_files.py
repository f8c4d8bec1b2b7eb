"""daphne.protocols.files: a file is encrypted wherever TLS is done, by the loop or by Twisted."""

import ssl
from pathlib import Path

import httpx
import pytest

from tests.certificates import issue
from tests.servers import LISTENING, Process, daphne

APPLICATION = """
async def application(scope, receive, send):
    size = str(len(open(__file__, "rb").read())).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]})
    await send({"type": "http.response.pathsend", "path": __file__})
"""


@pytest.mark.parametrize(
    "endpoint", ["tcp:0:interface=127.0.0.1", "ssl:0:privateKey={pem}", "tls:{folder}:port=0"]
)
def test_a_file_arrives_whole_over_any_endpoint(endpoint: str, tmp_path: Path) -> None:
    issued = issue(tmp_path, "localhost", ("localhost",))
    (tmp_path / "sends_file.py").write_text(APPLICATION)
    description = endpoint.format(pem=issued.both, folder=tmp_path)
    command = daphne("--lifespan", "off", "-e", description, "sends_file:application")
    server = Process(command, tmp_path / "log", environment={"PYTHONPATH": f"{tmp_path}"})
    try:
        port = server.wait_for(LISTENING)[2]
        scheme = "http" if endpoint.startswith("tcp") else "https"
        trust = ssl.create_default_context(cafile=str(issued.certificate_path))
        with httpx.Client(verify=trust) as client:
            assert client.get(f"{scheme}://localhost:{port}/").text == APPLICATION
    finally:
        assert server.stop() == 0
