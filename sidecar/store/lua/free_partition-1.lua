-- Ends somebody's ownership of a partition, so that another need not wait for its end.
-- KEYS[1]  the owner
-- ARGV[1]  the owner's fence
-- returns  1 ended | 0 another owns it
-- include: behind
if not owns(KEYS[1], ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'h', 'u') > 0 and 1 or 0
