-- Says of a tag that an entry may have it, for as long as that lasts. Entries whose time is over are dropped.
-- KEYS[1]  the tag's members, a sorted set by when they end (ms)
-- ARGV[1]  the entry's name
-- ARGV[2]  for how long it may have the tag (ms)
-- returns  how many members there are
-- include: now
local now_ms = math.floor(now_us() / 1000)
local ends = now_ms + tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) < ends then redis.call('ZADD', KEYS[1], ends, ARGV[1]) end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]))
return redis.call('ZCARD', KEYS[1])
