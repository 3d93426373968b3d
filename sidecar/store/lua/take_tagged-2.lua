-- Takes members of a tag that is invalidated: they are among those to be visited until it is said that they were.
-- KEYS[1]  the tag's members, a sorted set by when they end (ms)
-- KEYS[2]  its members that are to be visited, a sorted set by when they were taken (us, or one more than the last)
-- ARGV[1]  the most to take, and to return
-- returns  {name, when it was taken, ...} of what is to be visited, the first taken first
-- include: now
local now = now_us()
local most = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', math.floor(now / 1000))
local members = redis.call('ZRANGE', KEYS[1], 0, most - 1)
if #members > 0 then
  local newest = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2] or 0)
  local batch = string.format('%.0f', math.max(now, newest + 1))
  local ends = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
  ends = math.max(ends, math.floor(now / 1000) + redis.call('PTTL', KEYS[2]))
  for _, name in ipairs(members) do
    redis.call('ZADD', KEYS[2], batch, name)
    redis.call('ZREM', KEYS[1], name)
  end
  redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', ends))
end
return redis.call('ZRANGE', KEYS[2], 0, most - 1, 'WITHSCORES')
