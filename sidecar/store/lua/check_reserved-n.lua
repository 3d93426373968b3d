-- Decides on one call against any number of policies, of which some have reservations: as check_limits does, but what is
-- held on a policy's key counts as taken from each of its limits. sidecar/ratelimit/models/holds.py says it step by step.
-- KEYS[*]  for each policy its limits' states, then its holds if it has reservations; each once if costs are taken
-- ARGV[1]  1 to take the costs, 0 only to look
-- ARGV[*]  for each policy: how many limits it has, the cost (at most any limit), and 1 if it has reservations, else 0;
--          then for each limit the algorithm's number, and what the algorithm's own script takes before the cost
-- returns  {now_us, and for each limit: 1 allowed | 0 refused, remaining, retry_after_us, reset_after_us}
-- include: now
-- include: token_bucket
-- include: sliding_window
-- include: fixed_window
-- include: gcra
-- include: sliding_log
-- include: save
-- include: leases
-- include: holds
local now = now_us()
local taking, allowed = ARGV[1] == '1', true
local found, held_keys = {}, {}
local place, at = 2, 1
while at <= #KEYS do
  local number, cost = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local key = ARGV[place + 2] == '1' and KEYS[at + number] or nil
  local holds, problem = read_holds(key, now)
  if not holds then return problem end
  place = place + 3
  for i = at, at + number - 1 do
    local one
    one, problem = look_beside(ARGV, place, KEYS[i], now, cost, holds)
    if not one then return problem end
    allowed = allowed and one.allowed == 1
    found[#found + 1] = one
    place = next_place(ARGV, place)
  end
  at = at + number
  if key then held_keys[#held_keys + 1], at = key, at + 1 end
end

if taking then
  for _, key in ipairs(held_keys) do tidy_leases(key, now) end
  for _, one in ipairs(found) do settle(ARGV, one, now, allowed) end
end
return say({now}, found)
