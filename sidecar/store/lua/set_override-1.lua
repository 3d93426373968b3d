-- Sets an override, or replaces it. sidecar/ratelimit/overrides_model.py says what it does step by step.
-- KEYS[1]  the overrides
-- ARGV[1]  its field, <policy>:<key>
-- ARGV[2]  what it says
-- ARGV[3]  how long it lasts (us)
-- ARGV[4]  the most overrides that there may be
-- returns  {1 set | 0 there are too many, the version}
-- include: now
-- include: overrides
local now = now_us()
local number, last = live_overrides(KEYS[1], now)
if number >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return {0, 0}
end
local ends = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', ends, ARGV[2]))
return {1, keep_overrides(KEYS[1], now, math.max(last, ends))}
