"""The load side: every module drives a server, verifies its answers and returns a `Load`."""
