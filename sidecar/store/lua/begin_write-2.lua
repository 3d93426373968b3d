-- Begins a write that goes to the origin first: whoever loads the entry must not fill it any more, nobody else may load or
-- write it meanwhile, and should the writer die, the entry goes with the writer's leave.
-- KEYS[1]  the entry
-- KEYS[2]  who loads or writes it
-- ARGV[1]  the writer's token
-- ARGV[2]  for how long the writer may write (ms)
-- returns  {1 begun | 0 another writes, for how long at most (ms)}
-- include: loads
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] and is_writers(held) then return {0, math.max(1, redis.call('PTTL', KEYS[2]))} end
local lease_ms = tonumber(ARGV[2])
local left_ms = redis.call('PTTL', KEYS[1])
if left_ms == -1 or left_ms > lease_ms then redis.call('PEXPIRE', KEYS[1], lease_ms) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', lease_ms)
return {1, lease_ms}
