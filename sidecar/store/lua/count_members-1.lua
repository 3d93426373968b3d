-- Says that a sidecar is alive, drops those that have not said so for long, and counts the rest. What it does when the
-- clock goes back stands in sidecar/ratelimit/members.py, whose model this script equals step by step.
-- KEYS[1]  the members: a sorted set, by when each was last heard of (us)
-- ARGV[1]  the member's id
-- ARGV[2]  how long a member counts that is not heard of (us)
-- returns  how many there are, this one included
-- include: now
local now, expiry = now_us(), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - expiry))
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + expiry), '+inf')
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(expiry / 1000))
return redis.call('ZCARD', KEYS[1])
