-- Renews somebody's ownership of a partition, who alone takes its changes, or makes them its owner where nobody is.
-- KEYS[1]  the owner
-- ARGV[1]  who asks
-- ARGV[2]  for how long, without being renewed (ms)
-- ARGV[3]  1 to own it where nobody does, else 0
-- returns  {1 the caller is the owner, the fence, 1 if somebody wants its changes sent at once, else 0}
--          | {0 another is, '', for how long (ms)} | {0 nobody is, '', 0}
-- include: now
local now = now_us()
local owner = redis.call('HMGET', KEYS[1], 'h', 'f', 'u', 'q')
local ends = tonumber(owner[3] or 0)
local lease_us = tonumber(ARGV[2]) * 1000
-- An end further away than any lease comes of a clock that went back.
local owned = owner[1] and now < ends and ends <= now + 2 * lease_us
if owned and owner[1] ~= ARGV[1] then return {0, '', math.ceil((ends - now) / 1000)} end
if not owned and ARGV[3] == '0' then return {0, '', 0} end
local fence = owner[2]
if not owned then fence = redis.call('HINCRBY', KEYS[1], 'f', 1) end
if owner[4] then redis.call('HDEL', KEYS[1], 'q') end
redis.call('HSET', KEYS[1], 'h', ARGV[1], 'u', string.format('%.0f', now + lease_us))
return {1, tostring(fence), owner[4] and 1 or 0}
