"""Tests of daphne.logs: Twisted's log in Python's, and the levels of the verbosities."""

import logging
import subprocess
import sys
import warnings

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from daphne.logs import LEVELS, follow_twisted_log, shows_on_standard_error

twisted_log = Logger("some.twisted.module")


@pytest.fixture(autouse=True)
def back_to_the_default():
    yield
    follow_twisted_log(1)


def from_server(caplog):
    return [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name == "daphne.server"
    ]


@pytest.mark.parametrize("verbosity", LEVELS)
def test_errors_of_twisted_show_at_every_verbosity(verbosity, caplog):
    follow_twisted_log(verbosity)
    twisted_log.warn("careful {what}", what="now")
    twisted_log.error("wrong")
    try:
        raise KeyError("lost")
    except KeyError:
        twisted_log.failure("unexpected")
    assert from_server(caplog) == [("WARNING", "careful now"), ("ERROR", "wrong"), ("CRITICAL", "unexpected")]
    assert "KeyError: 'lost'" in caplog.text


@pytest.mark.parametrize(("verbosity", "seen"), [(0, 0), (1, 0), (2, 2), (3, 2)])
def test_what_is_said_in_passing_shows_from_verbosity_2(verbosity, seen, caplog):
    caplog.set_level(logging.DEBUG, "daphne.server")
    follow_twisted_log(verbosity)
    twisted_log.info("by the way")
    twisted_log.debug("in detail")
    assert len(from_server(caplog)) == seen


def test_a_deferred_that_nobody_looks_at(caplog):
    follow_twisted_log(1)
    deferred = Deferred()
    deferred.errback(Failure(ValueError("nobody looks")))
    del deferred
    assert ("CRITICAL", "Unhandled error in Deferred:") in from_server(caplog)
    assert "ValueError: nobody looks" in caplog.text


def test_is_heard_once(caplog):
    for _ in range(3):
        follow_twisted_log(1)
    twisted_log.error("once")
    assert from_server(caplog) == [("ERROR", "once")]


def test_pythons_warnings_stay_where_they_are():
    shown = warnings.showwarning
    follow_twisted_log(1)
    assert warnings.showwarning is shown


SCRIPT = """
import logging, sys
from daphne.logs import configure_logging
configure_logging({verbosity}, "%(levelname)-8s %(name)s %(message)s")
for level in ("DEBUG", "INFO", "WARNING"):
    logging.getLogger("daphne.cli").log(getattr(logging, level), "one")
from twisted.logger import Logger
Logger("x").critical("two")
logging.getLogger("hpack.table").debug("three")
"""


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (0, ["WARNING  daphne.cli one", "CRITICAL daphne.server two"]),
        (1, ["INFO     daphne.cli one", "WARNING  daphne.cli one", "CRITICAL daphne.server two"]),
        (
            3,
            [
                "DEBUG    daphne.cli one",
                "INFO     daphne.cli one",
                "WARNING  daphne.cli one",
                "CRITICAL daphne.server two",
                "DEBUG    hpack.table three",
            ],
        ),
    ],
)
def test_a_process_logs_to_standard_error_and_nothing_twice(verbosity, lines):
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(verbosity=verbosity)], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr.splitlines()) == ("", lines)


def test_whether_an_error_shows_on_standard_error(monkeypatch):
    log = logging.getLogger("daphne.test_logs.shown")
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(log, "propagate", False)
    assert shows_on_standard_error(log)  # by Python's last resort
    log.addHandler(logging.NullHandler())
    assert not shows_on_standard_error(log)
    log.addHandler(handler)
    assert shows_on_standard_error(log)
    log.disabled = True
    assert not shows_on_standard_error(log)
