-- The invalidations of one cache, in two sorted sets whose scores are positions: integers that only grow, and are times
-- (us) where nothing forbids it. In the first: 'last' is the newest position, 'all' the one up to which everything is
-- out of date, 'p:<prefix>' the same of what begins so. In the second, by 't:<tag>', when a tag was invalidated, and
-- 'all' up to where that may be forgotten. A set that is lost begins anew with everything up to now out of date.

-- last_position(generations, now): the newest position.
local function last_position(generations, now)
  local last = redis.call('ZSCORE', generations, 'last')
  if last then return tonumber(last) end
  redis.call('ZADD', generations, now, 'last', now, 'all')
  return now
end

-- floor_of(key, last): the position of 'all'.
local function floor_of(key, last)
  local floor = redis.call('ZSCORE', key, 'all')
  if floor then return tonumber(floor) end
  redis.call('ZADD', key, last, 'all')
  return last
end
