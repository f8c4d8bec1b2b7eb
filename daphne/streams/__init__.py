"""The rules of one exchange, whatever the wire: request head, scope, flow control, the two streams.

Used by protocols/, application/ and layers/. Knows no Twisted, no socket and no wire format.
"""
