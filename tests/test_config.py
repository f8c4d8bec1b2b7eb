"""Configuration files: where they are looked for, what they say, and everything that is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers import serving
from tests.test_cli import FakeCommand, surroundings  # noqa: F401

TARGET = "daphne.demo:application"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of every test here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*arguments: str) -> dict[str, Any]:
    command = FakeCommand()
    command.run(list(arguments))
    return dict(command.server.keywords) if command.server else {}


def problems(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        FakeCommand().run(list(arguments))
    assert ended.value.code == 2
    return [line.removeprefix("daphne: error: ") for line in capsys.readouterr().err.splitlines()]


def test_a_file_has_the_target_and_the_settings(folder: Path) -> None:
    (folder / "daphne.toml").write_text(
        f'target = "{TARGET}"\nport = 8123\nping-interval = 7.5\nhttp2 = false\nroot_path = "/below"\n'
        'trusted-proxies = ["10.0.0.0/8", "unix"]\nendpoint = ["tcp:8124"]\nws-protocol = ["chat"]\n'
    )
    arguments = made("--config", "daphne.toml")
    assert arguments["endpoints"] == ["tcp:8124", "tcp:port=8123:interface=127.0.0.1"]
    assert (arguments["ping_interval"], arguments["http2"], arguments["root_path"]) == (7.5, False, "/below")
    assert arguments["trusted_proxies"] == ("10.0.0.0/8", "unix")
    assert arguments["ws_protocols"] == ("chat",)


def test_a_variable_wins_over_the_file_and_a_flag_over_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "daphne.toml").write_text(
        'target = "nothing:here"\nping-interval = 1\nping-timeout = 1\nhttp-timeout = 1\n'
    )
    monkeypatch.setenv("DAPHNE_PING_TIMEOUT", "2")
    monkeypatch.setenv("DAPHNE_HTTP_TIMEOUT", "2")
    arguments = made("--config", "daphne.toml", "--http-timeout", "3", TARGET)
    assert [arguments[name] for name in ("ping_interval", "ping_timeout", "http_timeout")] == [1, 2, 3]


def test_the_table_of_a_pyproject_in_the_current_directory(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "x"\n[tool.daphne]\ntarget = "{TARGET}"\nport = 1\n'
    )
    assert made()["endpoints"] == ["tcp:port=1:interface=127.0.0.1"]
    (folder / "other.toml").write_text("port = 2\n")
    assert made("--config", "other.toml", TARGET)["endpoints"] == ["tcp:port=2:interface=127.0.0.1"]


def test_a_pyproject_without_that_table(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert made(TARGET)["endpoints"] == ["tcp:port=8000:interface=127.0.0.1"]


def test_proxy_headers_in_the_file_allow_their_flags(folder: Path) -> None:
    (folder / "daphne.toml").write_text("proxy-headers = true\n")
    arguments = made("--config", "daphne.toml", "--proxy-headers-host", "X-Mine", TARGET)
    assert arguments["proxy_forwarded_address_header"] == "X-Mine"


def test_everything_that_is_wrong_is_said_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "daphne.toml").write_text('prot = 1\nping-interval = "often"\n[http2]\nwindow = 1\n')
    monkeypatch.setenv("DAPHNE_PING_TIMEOUT", "soon")
    said = problems(
        capsys, "--config", "daphne.toml", "--check-config", "--http-timeout", "x", "nothing:here"
    )
    assert len(said) == 6, said
    assert said[0] == "daphne.toml: prot: there is no such setting; did you mean port?"
    assert said[1].startswith("daphne.toml: ping-interval: 'often'")
    assert said[2].startswith("daphne.toml: http2: {'window': 1}")
    assert said[3].startswith("DAPHNE_PING_TIMEOUT: 'soon'")
    assert said[4].startswith("--http-timeout: 'x'")
    assert "nothing" in said[5]
    # Without --check-config nothing starts either; the target is not looked for then.
    assert problems(capsys, "--config", "daphne.toml", "--http-timeout", "x", "nothing:here") == said[:5]


@pytest.mark.parametrize(
    "content, says", [(None, "daphne.toml: cannot be read"), ("port =", "daphne.toml: not TOML")]
)
def test_a_file_that_cannot_be_used(
    content: str | None, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (folder / "daphne.toml").write_text(content)
    said = problems(capsys, "--config", "daphne.toml", TARGET)
    assert len(said) == 1 and said[0].startswith(says)


@pytest.mark.parametrize(
    "content, says",
    [
        ("tool.daphne = 3", ["pyproject.toml: tool.daphne is not a table"]),
        (
            f"[tool.daphne]\nhttp-timeout = 1{400 * '0'}",
            [
                f"pyproject.toml: http-timeout: 1{79 * '0'} is not allowed; "
                "it takes a number of seconds, 0 or more"
            ],
        ),
        (
            "[tool.daphne]\nunix-socket-mode = 660",
            [
                "pyproject.toml: unix-socket-mode: 660 is not allowed; "
                "it takes a file mode in octal: 0 to 777 as text, or a number such as 0o660"
            ],
        ),
    ],
)
def test_a_file_of_the_project_that_cannot_be_used(
    content: str, says: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pyproject.toml").write_text(content)
    assert problems(capsys, TARGET) == says


def test_a_file_that_says_nothing_of_daphne(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("tool = 3")
    assert made(TARGET)["endpoints"] == ["tcp:port=8000:interface=127.0.0.1"]


def test_a_configuration_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "daphne.toml").write_text(f'target = "{TARGET}"\n')
    assert made("--check-config", "--config", "daphne.toml") == {}
    assert capsys.readouterr().out == "daphne: the settings and the target are in order\n"


def test_a_server_with_a_file(folder: Path) -> None:
    file = folder / "daphne.toml"
    file.write_text(f'target = "{TARGET}"\nserver-name = "from the file"\n')
    import urllib.request

    with serving("--config", str(file), folder=folder) as server:
        answer = urllib.request.urlopen(server.address.url("/"), timeout=60)
        assert answer.headers["server"] == "from the file"
