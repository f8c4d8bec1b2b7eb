"""The lower bound answers as many times as requests end."""

import pytest

pytest.importorskip("uvloop")

from benchmarks.lower_bound import ANSWER, Constant


class Written(list):
    def write(self, data):
        self.append(data)


def test_each_end_of_a_request_gets_one_answer():
    transport = Written()
    constant = Constant()
    constant.connection_made(transport)
    constant.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    constant.data_received(b"GET / HTTP/1.1\r\n")
    assert b"".join(transport) == ANSWER * 2


def test_the_answer_is_as_long_as_it_says():
    head, _, body = ANSWER.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
