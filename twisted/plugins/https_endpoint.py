"""Twisted's plugin for `https:PORT:privateKey=...` endpoint strings: TLS by the loop.

Found by Twisted's `serverFromString`; calls `daphne.reactor.tls_endpoint`.
"""

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _LoopTLSParser:
    prefix = "https"

    def parseStreamServer(self, reactor, *positional, **named):
        # Twisted imports all plugins to find one, so what one of them needs is imported when it is needed.
        from daphne.reactor.tls_endpoint import TLSEndpoint

        return TLSEndpoint(reactor, *positional, **named)


parser = _LoopTLSParser()
