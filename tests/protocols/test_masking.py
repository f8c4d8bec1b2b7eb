"""Tests of daphne.protocols.masking: every way to take a mask off does what RFC 6455 says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.protocols import masking

WAYS = [masking.unmask, masking.unmask_small]


@pytest.mark.parametrize("unmask", WAYS)
@given(mask=st.binary(min_size=4, max_size=4), payload=st.binary(max_size=600))
def test_is_the_rule_of_the_rfc(unmask, mask, payload):
    """RFC 6455 section 5.3: octet i is XORed with octet i modulo 4 of the key."""
    assert bytes(unmask(mask, payload)) == bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))


@pytest.mark.parametrize("unmask", WAYS)
@pytest.mark.parametrize("size", [127, 128, 129, 65536, (1 << 20) + 1])
def test_every_size(unmask, size):
    mask, payload = b"\x01\x80\x00\xff", bytes(range(251)) * (size // 251 + 1)
    masked = bytes(unmask(mask, payload[:size]))
    assert len(masked) == size
    assert masked[:3] == b"\x01\x81\x02"
    assert bytes(unmask(mask, masked)) == payload[:size]
