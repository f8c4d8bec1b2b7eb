"""What hypercorn takes from a file only: by default it closes a connection after 1,000 requests."""

keep_alive_max_requests = 1_000_000_000
