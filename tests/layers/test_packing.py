"""MessagePack with a packer that is kept."""

from __future__ import annotations

import threading

import msgpack
import pytest

from daphne.layers.packing import LARGE, packed


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
