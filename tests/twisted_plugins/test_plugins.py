"""twisted/plugins: Twisted finds our endpoints by their prefix, once each."""

from __future__ import annotations

import pytest
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from daphne.reactor.inherited_endpoint import InheritedSocketEndpoint
from daphne.reactor.tls_endpoint import TLSEndpoint


@pytest.mark.parametrize(
    "prefix, module, parameters, endpoint",
    [
        ("fd", "fd_endpoint", ("3",), InheritedSocketEndpoint),
        ("https", "https_endpoint", ("8443",), TLSEndpoint),
    ],
)
def test_the_prefix_is_ours(prefix: str, module: str, parameters: tuple[str, ...], endpoint: type) -> None:
    found = [parser for parser in getPlugins(IStreamServerEndpointStringParser) if parser.prefix == prefix]
    assert len(found) == 1
    assert __import__(f"twisted.plugins.{module}", fromlist=["parser"]).parser is found[0]
    assert type(found[0].parseStreamServer(None, *parameters)) is endpoint
