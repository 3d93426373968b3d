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
local taking = ARGV[1] == '1'
local allowed = true
local found, again = {}, {}
local place = 2
for i, key in ipairs(KEYS) do
  local decide, taken = unpack(ALGORITHMS[tonumber(ARGV[place])])
  local cost, constants = tonumber(ARGV[place + 1]), {}
  for n = 1, taken do constants[n] = tonumber(ARGV[place + 1 + n]) end
  place = place + 2 + taken
  found[i] = {decide(key, now, cost, taking, unpack(constants))}
  if not found[i][1] then return found[i][2] end
  allowed = allowed and found[i][1] == 1
  again[i] = function() return {decide(key, now, cost, false, unpack(constants))} end
end

local answer = {now}
for i, key in ipairs(KEYS) do
  if not allowed and taking and found[i][1] == 1 then found[i] = again[i]() end
  local one = found[i]
  if one[5] then save(key, one[5], one[6], one[7], one[8]) end
  for n = 1, 4 do answer[#answer + 1] = one[n] end
end
return answer
