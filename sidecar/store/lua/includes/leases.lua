-- The leases on one key: a sorted set, so that they and their sum live and die as one. Its members are
--   <id>.<slots>  a lease, and its token: its score is when it ends (us since the epoch)
--   <id>          of a lease that a caller named: minus its slots, so that its token can be found by the name
--   used          minus the sum of all leases' slots, those that have ended and are still there included
--   longest       minus the longest lease that was asked for since the key was made (us)
-- Only leases have a score above 0. An id has 23 characters: 'h' and a digest for a named lease, 'r' for a random one.
local USED, LONGEST, ID_CHARS, NAMED = 'used', 'longest', 23, 'h'

local function slots_of(token)
  return tonumber(string.sub(token, ID_CHARS + 2))
end

-- read_leases(key, now): the slots in use and the longest lease (us), both 0 if there is no key; the leases that have
-- ended, oldest first; and an error in place of all that if the key holds something else.
local function read_leases(key, now)
  local used, longest = redis.call('ZSCORE', key, USED), redis.call('ZSCORE', key, LONGEST)
  if not (used and longest) then
    if redis.call('EXISTS', key) == 1 then return nil, redis.error_reply('SCFORMAT not leases of this format') end
    return 0, 0, {}
  end
  used, longest = -tonumber(used), -tonumber(longest)
  local ended = redis.call('ZRANGEBYSCORE', key, '(0', now)
  for _, token in ipairs(ended) do used = used - slots_of(token) end
  return used, longest, ended
end

-- last_end(key): when the last lease ends.
local function last_end(key)
  return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
end

-- keep_leases(key, now, used, longest, ...): writes down the sums of a key that has leases, and more scores and members
-- if there are any, and lets the key live as long as the leases.
local function keep_leases(key, now, used, longest, ...)
  redis.call('ZADD', key, -used, USED, -longest, LONGEST, ...)
  redis.call('PEXPIRE', key, math.ceil((last_end(key) - now) / 1000))
end

-- drop_lease(key, token): removes a lease, and its id if it was named.
local function drop_lease(key, token)
  redis.call('ZREM', key, token)
  if string.sub(token, 1, 1) == NAMED then redis.call('ZREM', key, string.sub(token, 1, ID_CHARS)) end
end

-- tidy_leases(key, now): as read_leases, less the list; removes what has ended, and after the clock went back brings
-- each end to where it can be at most, the longest lease from now. Writes only if there was something to do.
local function tidy_leases(key, now)
  local used, longest, ended = read_leases(key, now)
  if not used or longest == 0 then return used, longest end
  if used == 0 then
    redis.call('DEL', key)
    return 0, 0
  end
  for _, token in ipairs(ended) do drop_lease(key, token) end
  local late = {}
  if last_end(key) > now + longest then
    late = redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now + longest), '+inf')
    for _, token in ipairs(late) do redis.call('ZADD', key, now + longest, token) end
  end
  if #ended > 0 or #late > 0 then keep_leases(key, now, used, longest) end
  return used, longest
end

-- room_after(key, now, missing, longest): how long until `missing` (>= 1) more slots are free if nothing is renewed or
-- released; never longer than the longest lease. To read as many leases as slots is enough: each has at least one.
local function room_after(key, now, missing, longest)
  local ends = now
  local after = string.format('(%.0f', now)
  local leases = redis.call('ZRANGEBYSCORE', key, after, '+inf', 'WITHSCORES', 'LIMIT', 0, missing)
  for place = 1, #leases, 2 do
    if missing <= 0 then break end
    missing, ends = missing - slots_of(leases[place]), tonumber(leases[place + 1])
  end
  return math.min(ends - now, longest)
end
