-- Takes a piece of upkeep that one process does for all, or prolongs it for who has it.
-- KEYS[1]  who has it
-- ARGV[1]  the process that asks
-- ARGV[2]  for how long it is to have it (ms)
-- returns  1 if it has it now | 0 if another has
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
