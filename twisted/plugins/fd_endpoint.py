"""Twisted's plugin for `fd:fileno=N` endpoint strings: an inherited listening socket.

Found by Twisted's `serverFromString`; calls `daphne.reactor.inherited_endpoint`.
"""

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _InheritedSocketParser:
    prefix = "fd"

    def parseStreamServer(self, reactor, fileno):
        # Twisted imports all plugins to find one, so what one of them needs is imported when it is needed.
        from daphne.reactor.inherited_endpoint import InheritedSocketEndpoint

        return InheritedSocketEndpoint(reactor, fileno)


parser = _InheritedSocketParser()
