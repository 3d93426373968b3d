-- Ends a load that brought no value: the origin has none, or could not be asked. An entry that is still there then stays.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- ARGV[1]  the caller's token
-- ARGV[2]  1 if the origin has none, 0 if it could not be asked
-- ARGV[3]  for how long it is remembered that the origin has none (ms); 0 not at all
-- returns  {1 ended | 0 refused: the leave to load has ended, or the entry was written or deleted since, the time (us)}
-- include: now
-- include: loads
if redis.call('GET', KEYS[2]) ~= ARGV[1] or ARGV[1] == NOTHING_THERE then return {0, 0} end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
  if ARGV[3] ~= '0' then redis.call('SET', KEYS[2], NOTHING_THERE, 'PX', ARGV[3]) end
end
return {1, now_us()}
