-- Ends a load that brought no value, where the news that the origin has none may go out of date: it opens with '-', and
-- the token's position follows.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- ARGV[1]  the caller's token
-- ARGV[2]  1 if the origin has none, 0 if it could not be asked
-- ARGV[3]  for how long it is remembered that the origin has none (ms); 0 not at all
-- returns  {1 ended | 0 refused: the leave to load has ended, or the entry was written or deleted since, the time (us)}
-- include: now
-- include: header
-- include: dated
-- include: loads
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {0, 0} end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
  if ARGV[3] ~= '0' then
    redis.call('SET', KEYS[2], NOTHING_THERE .. string.sub(ARGV[1], 1, POSITION_DIGITS), 'PX', ARGV[3])
  end
end
return {1, now_us()}
