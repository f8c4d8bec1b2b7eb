"""What the Redis layer does inside Redis, as Lua scripts, so that each step is atomic and one round trip.

Called by the Redis layer through `Script`s; calls nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Script:
    """The text of a script, and the name by which Redis knows it once it is loaded."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        )


SEND = Script("""
-- KEYS: the queue, the body. ARGV: the message, its expiry in ms, the capacity, what the keys of the
-- statistics of the channel and of all channels begin with. Returns 1, or 0 when the queue is full.
local count, done = 'messages_count', 1
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[3]) then
    count, done = 'channel_full_count', 0
else
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
    redis.call('RPUSH', KEYS[1], KEYS[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[2] + 1000)
end
redis.call('INCR', ARGV[4] .. count)
redis.call('EXPIRE', ARGV[4] .. count, 3600)
redis.call('INCR', ARGV[5] .. count)
redis.call('EXPIRE', ARGV[5] .. count, 86400)
return done
""")

TAKE = Script("""
-- KEYS: queues. ARGV: how many messages and how many bytes are enough, then pairs of the number of a queue
-- and the key of a body that BLPOP has taken from it. Returns pairs of the number of a queue and a message.
local taken, size = {}, 0
local function take(queue, key)
    local body = redis.call('GET', key)
    if body then  -- otherwise the message has expired
        redis.call('DEL', key)
        taken[#taken + 1] = queue
        taken[#taken + 1] = body
        size = size + #body
    end
end
for i = 3, #ARGV, 2 do
    take(tonumber(ARGV[i]), ARGV[i + 1])
end
for queue = 1, #KEYS do
    while #taken < 2 * ARGV[1] and size < tonumber(ARGV[2]) do
        local key = redis.call('LPOP', KEYS[queue])
        if not key then
            break
        end
        take(queue, key)
    end
end
return taken
""")

PUT_BACK = Script("""
-- KEYS: the queue, the body. ARGV: the expiry in ms, and the message if its body was taken already. The
-- message becomes the first of the queue again.
if ARGV[2] then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[1])
end
redis.call('LPUSH', KEYS[1], KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1] + 1000)
""")

MEMBERS = Script("""
-- KEYS: the group. ARGV: the time of the oldest membership that still counts. Returns the members.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
""")

FLUSH = Script("""
-- ARGV: patterns. Removes all keys that match one.
for _, pattern in ipairs(ARGV) do
    for _, key in ipairs(redis.call('KEYS', pattern)) do
        redis.call('DEL', key)
    end
end
""")

OLDEST = Script("""
-- KEYS: the queue. Returns its length, and the milliseconds that the body of its first message has left.
local key = redis.call('LINDEX', KEYS[1], 0)
return {redis.call('LLEN', KEYS[1]), key and redis.call('PTTL', key) or -2}
""")

ALL = (SEND, TAKE, PUT_BACK, MEMBERS, FLUSH, OLDEST)
