-- Gives back a piece of upkeep, if it is this process's.
-- KEYS[1]  who has it
-- ARGV[1]  the process that had it
-- returns  1 if it was its | 0 if not
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
