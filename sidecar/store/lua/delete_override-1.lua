-- Removes an override. sidecar/ratelimit/overrides_model.py says what it does step by step.
-- KEYS[1]  the overrides
-- ARGV[1]  its field, <policy>:<key>
-- returns  1 removed | 0 there was none
-- include: now
-- include: overrides
local now = now_us()
local number, last = live_overrides(KEYS[1], now)
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if number == 1 then
  redis.call('DEL', KEYS[1])
else
  keep_overrides(KEYS[1], now, last)
end
return 1
