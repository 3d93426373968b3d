-- Holds a cost on a policy's key if that much is left of each limit beside what is held already; nothing is charged.
-- sidecar/ratelimit/models/holds.py says it step by step.
-- KEYS[*]  the limits' states, then the holds
-- ARGV[1]  cost (1 to the smallest limit)
-- ARGV[2]  how long the hold is (us)
-- ARGV[3]  the hold's id
-- ARGV[4]  the most holds that there may be
-- ARGV[*]  for each limit: the algorithm's number, and what the algorithm's own script takes before the cost
-- returns  {1 held | 0 refused | 2 the id has a hold of another cost | 3 there are too many holds, expires_after_us,
--           now_us, and for each limit: 1 allowed | 0 refused, remaining, retry_after_us, reset_after_us}; what follows the
--           verdict is 0, and nothing is said of limits, for 2 and 3
-- include: now
-- include: token_bucket
-- include: sliding_window
-- include: fixed_window
-- include: gcra
-- include: sliding_log
-- include: save
-- include: leases
-- include: holds
local cost, length, id, most = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local key = KEYS[#KEYS]
local now = now_us()
local holds, problem = read_holds(key, now)
if not holds then return problem end

-- Its hold, if the caller has one under that name.
local token = string.format('%s.%.0f', id, cost)
local is_named = string.sub(id, 1, 1) == NAMED
local mine = false
if is_named and holds.held > 0 then
  local size = redis.call('ZSCORE', key, id)
  if size then
    local named = string.format('%s.%.0f', id, -tonumber(size))
    mine = tonumber(redis.call('ZSCORE', key, named)) > now
    if mine and named ~= token then return {2, 0, now} end
  end
end

local found, allowed, place = {}, true, 5
for i = 1, #KEYS - 1 do
  local one
  one, problem = look_beside(ARGV, place, KEYS[i], now, mine and 0 or cost, holds)
  if not one then return problem end
  allowed = allowed and one.allowed == 1
  found[i] = one
  place = next_place(ARGV, place)
end
if not allowed then
  tidy_leases(key, now)
  for _, one in ipairs(found) do settle(ARGV, one, now, false) end
  return say({0, 0, now}, found)
end
if not mine and holds.held > 0 and redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf') >= most then
  return {3, 0, now}
end

local held, longest = tidy_leases(key, now)
local ends = now + length
if mine then
  ends = math.max(ends, tonumber(redis.call('ZSCORE', key, token)))
else
  held = held + cost
  if is_named then redis.call('ZADD', key, -cost, id) end
end
keep_leases(key, now, held, math.max(longest, length), ends, token)
stand_beside(found, held, math.max(holds.last, ends - now))
return say({1, ends - now, now}, found)
