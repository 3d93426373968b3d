-- Says of members of an invalidated tag that they were visited. One that was taken again meanwhile is to be visited again.
-- KEYS[1]  the members that are to be visited, a sorted set by when they were taken
-- ARGV[*]  a name and when it was taken, for each
-- returns  how many are still to be visited
for place = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[place]) == ARGV[place + 1] then redis.call('ZREM', KEYS[1], ARGV[place]) end
end
return redis.call('ZCARD', KEYS[1])
