-- Removes an entry from the cache, be it a value or a record. What is being loaded meanwhile may be what is to be removed.
-- KEYS[1]  the entry
-- KEYS[2]  who loads the entry, who must not fill it any more; nobody most often
-- returns  {1 applied | 3 not found, the time (us)}
-- include: now
-- include: header
-- What is neither is not ours: this ends with WRONGTYPE.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('STRLEN', KEYS[1]) end
local outcome = redis.call('DEL', KEYS[1]) == 1 and APPLIED or NOT_FOUND
redis.call('DEL', KEYS[2])
return {outcome, now_us()}
