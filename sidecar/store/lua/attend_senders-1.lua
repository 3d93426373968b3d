-- Says that somebody is there to send a cache's changes, or leaves, and how many there are: of them each has its share.
-- KEYS[1]  who is there, a sorted set by until when (us)
-- ARGV[1]  who asks
-- ARGV[2]  for how long, without being renewed (ms); 0 to leave
-- returns  {how many there are, how many of them stand before the caller in the order of the names, the time (ms)}
-- include: now
local now, lease_us = now_us(), tonumber(ARGV[2]) * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if lease_us == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  -- An end further away than any lease comes of a clock that went back.
  redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + 2 * lease_us), '+inf')
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease_us), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], math.ceil(2 * lease_us / 1000))
end
local there, before = redis.call('ZRANGE', KEYS[1], 0, -1), 0
for _, name in ipairs(there) do
  if name < ARGV[1] then before = before + 1 end
end
return {#there, before, math.floor(now / 1000)}
