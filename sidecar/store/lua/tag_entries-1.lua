-- Says of a tag that entries may have it, each for as long as that lasts. Entries whose time is over are dropped.
-- KEYS[1]  the tag's members, a sorted set by when they end (ms)
-- ARGV[*]  an entry's name and for how long it may have the tag (ms), for each
-- returns  how many members there are
-- include: now
local now_ms = math.floor(now_us() / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
for place = 1, #ARGV, 2 do
  local ends = now_ms + tonumber(ARGV[place + 1])
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[place]) or 0) < ends then
    redis.call('ZADD', KEYS[1], ends, ARGV[place])
  end
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]))
return redis.call('ZCARD', KEYS[1])
