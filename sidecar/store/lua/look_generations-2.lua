-- Says where a cache stands: what is written from now on is written at the newest position.
-- KEYS[1]  the cache's generations
-- KEYS[2]  its tags' invalidations
-- ARGV[1]  how many of the members are the first key's; the rest are the second's
-- ARGV[*]  the members
-- returns  {the newest position, up to which everything is out of date, up to which tags may be, each member's or 0}
-- include: now
-- include: generations
local last = last_position(KEYS[1], now_us())
local answer = {last, floor_of(KEYS[1], last), floor_of(KEYS[2], last)}
for place = 2, #ARGV do
  local key = place - 1 <= tonumber(ARGV[1]) and KEYS[1] or KEYS[2]
  answer[#answer + 1] = tonumber(redis.call('ZSCORE', key, ARGV[place]) or 0)
end
return answer
