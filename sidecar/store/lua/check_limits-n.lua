-- Decides on one call against any number of limits, and takes its costs from all of them or from none. Each is decided as
-- its own script would; where one refuses, those that allow are only looked at, and those that refuse do what they do
-- alone (sidecar/ratelimit/models/together.py, which this script equals step by step).
-- KEYS[*]  the limits' states, each once
-- ARGV[1]  1 to take the costs, 0 only to look
-- ARGV[*]  for each key: the algorithm's number, the cost, and what the algorithm's own script takes before the cost
-- returns  {now_us, and for each key: 1 allowed | 0 refused, remaining, retry_after_us, reset_after_us}
-- include: now
-- include: token_bucket
-- include: sliding_window
-- include: fixed_window
-- include: gcra
-- include: sliding_log
-- include: save
-- By number: the algorithm, and how many constants it takes (sidecar/ratelimit/terms.py).
local ALGORITHMS = {{token_bucket, 4}, {sliding_window, 3}, {fixed_window, 7}, {gcra, 4}, {sliding_log, 2}}
local now = now_us()

-- decide(key, place, taking): what the limit says whose arguments begin there; those of the next one are not looked at.
local function decide(key, place, taking)
  return {ALGORITHMS[tonumber(ARGV[place])][1](key, now, tonumber(ARGV[place + 1]), taking,
    tonumber(ARGV[place + 2]), tonumber(ARGV[place + 3]), tonumber(ARGV[place + 4]), tonumber(ARGV[place + 5]),
    tonumber(ARGV[place + 6]), tonumber(ARGV[place + 7]), tonumber(ARGV[place + 8]))}
end

local taking, allowed = ARGV[1] == '1', true
local found, places = {}, {}
local place = 2
for i, key in ipairs(KEYS) do
  local one = decide(key, place, taking)
  if not one[1] then return one[2] end
  allowed = allowed and one[1] == 1
  found[i], places[i] = one, place
  place = place + 2 + ALGORITHMS[tonumber(ARGV[place])][2]
end

local answer = {now}
for i, key in ipairs(KEYS) do
  local one = found[i]
  if taking and not allowed and one[1] == 1 then one = decide(key, places[i], false) end
  if one[5] then save(key, one[5], one[6], one[7], one[8]) end
  local at = #answer
  answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4] = one[1], one[2], one[3], one[4]
end
return answer
