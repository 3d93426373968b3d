-- Ends a hold, and charges what came of it to each limit: as much of it as is left beside the other holds.
-- sidecar/ratelimit/models/holds.py says it step by step.
-- KEYS[*]  the limits' states, then the holds
-- ARGV[1]  the hold's token
-- ARGV[2]  cost, of any size
-- ARGV[*]  for each limit: the algorithm's number, and what the algorithm's own script takes before the cost
-- returns  {1 committed | 0 no such hold, charged, now_us, and for each limit, if committed: 1, remaining, 0,
--           reset_after_us}
-- include: now
-- include: token_bucket
-- include: sliding_window
-- include: fixed_window
-- include: gcra
-- include: sliding_log
-- include: save
-- include: leases
-- include: holds
local token, cost = ARGV[1], tonumber(ARGV[2])
local key = KEYS[#KEYS]
local now = now_us()
local holds, problem = read_holds(key, now)
if not holds then return problem end
local ends = holds.held > 0 and redis.call('ZSCORE', key, token)
if not ends or tonumber(ends) <= now then return {0, 0, now} end

local held = holds.held - slots_of(token)
local found, place = {}, 3
for i = 1, #KEYS - 1 do
  local one
  one, problem = look_beside(ARGV, place, KEYS[i], now, 0, holds)
  if not one then return problem end
  cost = math.max(0, math.min(cost, one.free - held))
  found[i] = one
  place = next_place(ARGV, place)
end

local _, longest = tidy_leases(key, now)
drop_lease(key, token)
local last = 0
if held == 0 then
  redis.call('DEL', key)
else
  keep_leases(key, now, held, longest)
  last = last_end(key) - now
end
for _, one in ipairs(found) do charge(ARGV, one, now, cost) end
stand_beside(found, held, last)
return say({1, cost, now}, found)
