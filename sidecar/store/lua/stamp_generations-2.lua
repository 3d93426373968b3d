-- Makes a new position, and puts what is out of date up to there at it.
-- KEYS[1]  the cache's generations
-- KEYS[2]  its tags' invalidations
-- ARGV[1]  the most members that are kept; the oldest are forgotten by taking all that is as old for out of date
-- ARGV[2]  the set that the members are of: 1 or 2
-- ARGV[*]  the members
-- returns  the position
-- include: now
-- include: generations
local now = now_us()
local last = last_position(KEYS[1], now)
local position = math.max(now, last + 1)
local key = ARGV[2] == '1' and KEYS[1] or KEYS[2]
floor_of(key, last)
redis.call('ZADD', KEYS[1], position, 'last')
for place = 3, #ARGV do redis.call('ZADD', key, position, ARGV[place]) end
local extra = redis.call('ZCARD', key) - tonumber(ARGV[1])
if extra > 0 then
  local floor = tonumber(redis.call('ZSCORE', key, 'all'))
  redis.call('ZREM', key, 'all')
  floor = math.max(floor, tonumber(redis.call('ZRANGE', key, extra - 1, extra - 1, 'WITHSCORES')[2]))
  redis.call('ZREMRANGEBYRANK', key, 0, extra - 1)
  redis.call('ZADD', key, floor, 'all')
end
return position
