"""MessagePack with a packer that is kept."""

from __future__ import annotations

import threading

import msgpack
import pytest

from daphne.layers.local_frames import DONE
from daphne.layers.local_server import packed_answer
from daphne.layers.packing import LARGE, bytes_head, packed, packed_array, packed_number, text_head


def test_values_of_any_size_one_after_the_other():
    for value in ({"a": b"x"}, {"a": b"x" * (LARGE + 1)}, {"a": [1, (2, None)]}, {}):
        assert packed(value) == msgpack.packb(value, use_bin_type=True)


def test_a_failure_leaves_nothing_behind():
    for value in ({"a": b"x" * 100, "b": object()}, {"a": 1 << 80}):
        with pytest.raises((TypeError, OverflowError)):
            packed(value)
        assert packed({"a": 1}) == msgpack.packb({"a": 1})


def test_each_thread_has_its_own():
    wrong = []

    def pack(number):
        for _ in range(200):
            if msgpack.unpackb(packed({"n": [number] * 500})) != {"n": [number] * 500}:
                wrong.append(number)

    threads = [threading.Thread(target=pack, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


SIZES = [0, 1, 15, 16, 31, 32, 127, 128, 255, 256, 65535, 65536]


@pytest.mark.parametrize("size", SIZES)
def test_single_values_are_packed_as_msgpack_packs_them(size):
    assert text_head(size) + b"x" * size == packed("x" * size)
    assert bytes_head(size) + b"x" * size == packed(b"x" * size)
    if size < 65536:
        assert packed_array(size) + b"\0" * size == packed([0] * size)


@pytest.mark.parametrize("number", [*SIZES, 2**32 - 1, 2**32, 2**64 - 1])
def test_numbers_as_large_as_they_get(number):
    """Requests to a broker are counted for as long as a process lives."""
    assert msgpack.unpackb(packed_number(number)) == number


@pytest.mark.parametrize("count", [1, 2, 100])
def test_an_answer_with_messages(count):
    batch = [("http.request", packed({"number": number})) for number in range(count)]
    frame = msgpack.unpackb(b"".join(packed_answer(70000, batch)), use_list=False)
    assert frame == (70000, DONE, tuple(batch))
