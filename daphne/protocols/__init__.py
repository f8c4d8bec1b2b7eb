"""The wire protocols: bytes to streams and streams to bytes. HTTP/1.1, HTTP/2 and WebSocket on one port.

`site` is the one factory of a port; `negotiation` is where HTTP and WebSocket share a resource.
"""
