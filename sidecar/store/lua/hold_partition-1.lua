-- Makes somebody the owner of a partition, who alone takes its changes, or renews that; unless another is.
-- KEYS[1]  the owner
-- ARGV[1]  who asks
-- ARGV[2]  for how long, without being renewed (ms)
-- returns  {1 the caller is the owner | 0 another is, the fence, the owner's name}
-- include: now
local now = now_us()
local owner = redis.call('HMGET', KEYS[1], 'h', 'f', 'u')
local ends = tonumber(owner[3] or 0)
local lease_us = tonumber(ARGV[2]) * 1000
-- An end further away than any lease comes of a clock that went back.
if owner[1] and owner[1] ~= ARGV[1] and now < ends and ends <= now + 2 * lease_us then
  return {0, owner[2], owner[1]}
end
local fence = owner[2]
if owner[1] ~= ARGV[1] or now >= ends then fence = redis.call('HINCRBY', KEYS[1], 'f', 1) end
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'u', string.format('%.0f', now + lease_us))
return {1, tostring(fence), ARGV[1]}
