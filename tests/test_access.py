"""Tests of daphne.access: the usual line, and where lines go."""

import datetime
import io
import logging
import os
import re
import signal
import sys
import threading

import pytest

from daphne import access
from daphne.access import AccessLogGenerator, AccessLogOutput, FormattedAccessLog, LoggedLines, escape
from daphne.errors import ConfigurationError
from tests.servers import serving

HTTP = {
    "path": "/a?b=1",
    "status": 200,
    "method": "GET",
    "client": "127.0.0.1:5000",
    "time_taken": 0.25,
    "size": 13,
}
DATE = r"\[\d\d/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:\d\d:\d\d:\d\d\]"


@pytest.fixture
def access_logger():
    """The logger `daphne.access`, put back afterwards as it was."""
    logger = logging.getLogger("daphne.access")
    before = (logger.handlers[:], logger.level, logger.propagate, logger.disabled)
    yield logger
    for handler in logger.handlers[:]:
        if handler not in before[0]:
            logger.removeHandler(handler)
            handler.close()
    logger.level, logger.propagate, logger.disabled = before[1:]
    logger.setLevel(before[1])


def line_of(protocol, action, **details):
    stream = io.StringIO()
    AccessLogGenerator(stream)(protocol, action, {**HTTP, **details})
    return stream.getvalue()


def test_http_line():
    assert re.fullmatch(rf'127\.0\.0\.1:5000 - - {DATE} "GET /a\?b=1" 200 13\n', line_of("http", "complete"))


def test_the_time_is_the_local_time():
    before = datetime.datetime.now().replace(microsecond=0)
    written = re.search(r"\[(.*)\]", line_of("http", "complete"))[1]
    assert before <= datetime.datetime.strptime(written, "%d/%b/%Y:%H:%M:%S") <= datetime.datetime.now()


def test_nothing_is_a_hyphen_and_no_client_is_none():
    line = line_of("http", "complete", client=None, size=0, method="-", path="-", status=400)
    assert re.fullmatch(rf'None - - {DATE} "- -" 400 -\n', line)


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        ("connecting", "WSCONNECTING"),
        ("connected", "WSCONNECT"),
        ("rejected", "WSREJECT"),
        ("disconnected", "WSDISCONNECT"),
    ],
)
def test_websocket_lines(action, verb):
    stream = io.StringIO()
    AccessLogGenerator(stream)("websocket", action, {"path": "/chat", "client": "[::1]:9"})
    assert re.fullmatch(rf'\[::1\]:9 - - {DATE} "{verb} /chat" - -\n', stream.getvalue())


@pytest.mark.parametrize(
    ("protocol", "action"), [("http", "begun"), ("websocket", "complete"), ("h3", "complete")]
)
def test_other_actions_are_passed_over(protocol, action):
    assert line_of(protocol, action) == ""


def test_write_entry_with_everything():
    stream = io.StringIO()
    log = AccessLogGenerator(stream)
    assert log.stream is stream
    date = datetime.datetime(2017, 3, 8, 19, 14, 2)
    log.write_entry("h:1", date, "GET /", status=404, length=7, ident="me", user="you")
    log.write_entry(host="h:1", date=date, request="GET /")
    assert stream.getvalue() == (
        'h:1 me you [08/Mar/2017:19:14:02] "GET /" 404 7\nh:1 - - [08/Mar/2017:19:14:02] "GET /" - -\n'
    )


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("/plain~path?a=b%20c", "/plain~path?a=b%20c"),
        ('/"\\', r"/\x22\x5C"),
        ("/\r\n\t\0\x7f", r"/\x0D\x0A\x09\x00\x7F"),
        ("/\xe9\x85", r"/\xE9\x85"),
        ("/\u20ac", r"/\xE2\x82\xAC"),
        ("\ud800", r"\xED\xA0\x80"),
    ],
)
def test_escape(text, safe):
    assert escape(text) == safe
    assert f'"GET {safe}"' in line_of("http", "complete", path=text)


def test_no_field_can_end_its_line():
    line = line_of("http", "complete", path='/" 200 1\nfake', method='G"E', client='1.2.3.4"\n:5')
    assert line.count("\n") == 1
    assert line.count('"') == 2


def test_a_format_writes_the_same_actions():
    stream = io.StringIO()
    log = FormattedAccessLog(stream, lambda protocol, action, details: f"{protocol} {action}")
    for protocol, action in (("http", "complete"), ("websocket", "connected"), ("http", "begun")):
        log(protocol, action, HTTP)
    assert stream.getvalue() == "http complete\nwebsocket connected\n"


def test_lines_go_through_the_logger(access_logger, tmp_path):
    file = tmp_path / "access.log"
    records = []
    access_logger.addFilter(lambda record: records.append(record) or True)
    AccessLogGenerator(access.log_lines_to(str(file)))("http", "complete", HTTP)
    access_logger.filters.clear()
    assert [(record.name, record.levelname) for record in records] == [("daphne.access", "INFO")]
    assert file.read_text() == records[0].getMessage() + "\n"
    assert not access_logger.propagate


def test_a_line_may_come_in_pieces(access_logger, tmp_path):
    file = tmp_path / "access.log"
    stream = access.log_lines_to(str(file))
    print("one", "100%s", file=stream, flush=True)
    stream.write("two\nthree")
    assert file.read_text() == "one 100%s\ntwo\n"
    stream.write("\n")
    assert file.read_text() == "one 100%s\ntwo\nthree\n"
    assert stream.isatty() is False


def test_a_file_is_appended_to(access_logger, tmp_path):
    file = tmp_path / "access.log"
    file.write_text("before\n")
    access.log_lines_to(str(file)).write("after\n")
    assert file.read_text() == "before\nafter\n"


def test_reopen(access_logger, tmp_path):
    file = tmp_path / "access.log"
    stream = access.log_lines_to(str(file))
    stream.write("one\n")
    file.rename(tmp_path / "access.log.1")
    stream.write("two\n")
    access.reopen()
    stream.write("three\n")
    assert (tmp_path / "access.log.1").read_text() == "one\ntwo\n"
    assert file.read_text() == "three\n"


def test_reopen_goes_on_with_the_old_file_when_it_must(access_logger, tmp_path, caplog):
    folder = tmp_path / "logs"
    folder.mkdir()
    stream = access.log_lines_to(str(folder / "access.log"))
    folder.rename(tmp_path / "moved")
    access.reopen()
    stream.write("still here\n")
    assert (tmp_path / "moved" / "access.log").read_text() == "still here\n"
    assert "The access log cannot be reopened" in caplog.text


def test_reopen_of_standard_output_is_nothing(access_logger, capsys):
    stream = access.log_lines_to("-")
    access.reopen()
    stream.write("here\n")
    assert capsys.readouterr().out == "here\n"


def test_standard_output_that_is_closed_breaks_nothing(access_logger, monkeypatch, caplog):
    stream = access.log_lines_to("-")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    stream.write("lost\n")
    assert "lines lost: 1" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_breaks_nothing_and_warns_now_and_then(caplog):
    now = [0.0]
    output = AccessLogOutput("/dev/full", clock=lambda: now[0])
    record = logging.makeLogRecord({"msg": "line"})
    for _ in range(3):
        output.handle(record)
    now[0] = access.WARN_AGAIN_AFTER + 1
    output.handle(record)
    output.close()
    warnings = [record.getMessage() for record in caplog.records if record.name == "daphne.server"]
    assert len(warnings) == 2
    assert "No space left" in warnings[0] and warnings[0].endswith("lines lost: 1")
    assert warnings[1].endswith("lines lost: 4")


def test_a_short_write_is_completed(access_logger, tmp_path):
    """A pipe takes a long line in pieces."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    taken = []
    reader = threading.Thread(target=lambda: taken.append(fifo.read_text()))
    reader.start()
    line = "x" * 300_000 + "\n"
    access.log_lines_to(str(fifo)).write(line)
    access_logger.handlers[-1].close()
    reader.join(60)
    assert taken == [line]


def test_a_file_that_cannot_be_opened(access_logger, tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"--access-log: cannot open '.*': No such file or directory"
    ):
        access.log_lines_to(str(tmp_path / "none" / "access.log"))


def test_another_call_replaces_the_first_output(access_logger, tmp_path):
    access.log_lines_to(str(tmp_path / "one"))
    access.log_lines_to(str(tmp_path / "two")).write("line\n")
    assert (tmp_path / "one").read_text() == ""
    assert (tmp_path / "two").read_text() == "line\n"


def test_handlers_of_the_project_are_respected(access_logger, capsys):
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    access_logger.addHandler(handler)
    access_logger.setLevel(logging.INFO)
    access.log_lines_to("-", unless_configured=True).write("line\n")
    assert (text.getvalue(), capsys.readouterr().out) == ("line\n", "")


def test_a_project_that_disables_all_loggers_still_has_its_access_log(access_logger, capsys):
    access_logger.disabled = True
    access.log_lines_to("-", unless_configured=True).write("line\n")
    assert capsys.readouterr().out == "line\n"


def test_a_logger_that_is_switched_off_costs_no_line(access_logger, capsys):
    stream = LoggedLines()
    access_logger.setLevel(logging.ERROR)
    stream.write("line\n")
    assert capsys.readouterr().out == ""


def test_a_server_logs_what_it_refuses_and_reopens_on_sigusr1(tmp_path):
    file, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    options = ["--access-log", str(file), "--access-log-format", '%(h)s "%(r)s" %(s)s %(a)s']
    with serving(*options, "daphne.demo:application", folder=tmp_path) as server:

        def ask(request):
            with server.address.connect() as connection:
                connection.sendall(request)
                return connection.makefile("rb").readline()

        def logged(name, line):
            server.wait_until(lambda: name.exists() and f"127.0.0.1 {line}\n" in name.read_text(), line)

        good = b"GET /%22 HTTP/1.1\r\nHost: x\r\nUser-Agent: test\r\nConnection: close\r\n\r\n"
        status = ask(good).split()[1].decode()
        assert ask(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        logged(file, f'"GET /%22 HTTP/1.1" {status} test')
        logged(file, '"- -" 400 -')
        file.rename(moved)
        server.popen.send_signal(signal.SIGUSR1)
        server.wait_until(file.exists, "a new file")
        ask(good)
        logged(file, f'"GET /%22 HTTP/1.1" {status} test')
        assert len(moved.read_text().splitlines()) == 2
