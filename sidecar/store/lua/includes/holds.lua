-- What limits leave beside what is held: for the scripts of policies with reservations, whose algorithm stands in
-- sidecar/ratelimit/models/holds.py. Holds are kept as leases are (includes/leases.lua), of what they hold instead of slots.
-- By number: the algorithm, and how many constants it takes (sidecar/ratelimit/terms.py).
local ALGORITHMS = {{token_bucket, 4}, {sliding_window, 3}, {fixed_window, 7}, {gcra, 4}, {sliding_log, 2}}

-- decide(argv, place, key, now, cost, taking): what the limit says, all else put aside, whose number and constants stand
-- at that place; those of the next one are not looked at.
local function decide(argv, place, key, now, cost, taking)
  return {ALGORITHMS[tonumber(argv[place])][1](key, now, cost, taking,
    tonumber(argv[place + 1]), tonumber(argv[place + 2]), tonumber(argv[place + 3]), tonumber(argv[place + 4]),
    tonumber(argv[place + 5]), tonumber(argv[place + 6]), tonumber(argv[place + 7]))}
end

-- next_place(argv, place): where the next limit's number stands.
local function next_place(argv, place)
  return place + 1 + ALGORITHMS[tonumber(argv[place])][2]
end

-- read_holds(key, now): what is held: the key, the sum, in how many us the last hold ends, and the longest that was asked
-- for; all 0 if nothing is held or there is no key. In its place nil and an error if the key holds something else.
local function read_holds(key, now)
  local holds = {key = key, held = 0, last = 0, longest = 0, number = 0, ends = {[0] = 0}}
  if key then
    local held, longest = read_leases(key, now)
    if not held then return nil, longest end
    holds.held, holds.longest = held, longest
    if held > 0 then holds.last = math.min(last_end(key) - now, longest) end
  end
  holds.left = {[0] = holds.held}
  return holds
end

-- read_on(holds, now): reads when more of the holds end, the first time 16 of them, then twice as many each time; false if
-- there are no more. Of `ends` the i-th says in how many us the first i holds have ended, of `left` what is then still
-- held; those at 0 say what is now.
local function read_on(holds, now)
  local number = holds.number
  if holds.left[number] == 0 then return false end
  local leases = redis.call('ZRANGEBYSCORE', holds.key, string.format('(%.0f', now), '+inf', 'WITHSCORES',
    'LIMIT', number, math.max(16, number * 2))
  for place = 1, #leases, 2 do
    number = number + 1
    holds.ends[number] = math.min(tonumber(leases[place + 1]) - now, holds.longest)
    holds.left[number] = holds.left[number - 1] - slots_of(leases[place])
  end
  holds.number = number
  return true
end

-- wait_beside(argv, place, key, now, cost, holds): how long until a limit has room for the cost beside what is then held,
-- if no hold is committed or cancelled. The longer one waits, the less is held, so the moment is found by halving, among as
-- many holds as have to end.
local function wait_beside(argv, place, key, now, cost, holds)
  local limit = tonumber(argv[place + 1])
  local function wait(number)
    local weight = cost + holds.left[number]
    if weight > limit then return math.huge end
    return decide(argv, place, key, now, weight, false)[3]
  end
  local low, high = 0, holds.number
  while wait(high) > holds.ends[high] do
    low = high + 1
    if not read_on(holds, now) then break end
    high = holds.number
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if wait(middle) <= holds.ends[middle] then high = middle else low = middle + 1 end
  end
  local found = low <= holds.number and holds.ends[low] or math.huge
  return low > 0 and math.min(found, wait(low - 1)) or found
end

-- look_beside(argv, place, key, now, cost, holds): how one limit stands, and whether it leaves room for the cost beside
-- what is held; nil and an error if it cannot be read. `free` and `whole_after` are its own, `remaining` and `reset_after`
-- those beside the holds, and `refused` is what it refuses even alone, if it does.
local function look_beside(argv, place, key, now, cost, holds)
  local limit = tonumber(argv[place + 1])
  local weight = cost > 0 and cost + holds.held or 0
  local alone = decide(argv, place, key, now, math.min(weight, limit), false)
  if not alone[1] then return nil, alone[2] end
  local one = {key = key, place = place, cost = cost, holds = holds, free = alone[2], whole_after = alone[4],
    allowed = weight > limit and 0 or alone[1], retry_after = 0}
  one.remaining, one.reset_after = math.max(0, one.free - holds.held), math.max(one.whole_after, holds.last)
  if alone[1] == 0 then one.refused = math.min(weight, limit) end
  if one.allowed == 0 then one.retry_after = wait_beside(argv, place, key, now, cost, holds) end
  return one
end

-- charge(argv, one, now, cost): takes a cost from a limit that has room for it; writes what the limit does, refused, too.
local function charge(argv, one, now, cost)
  local after = decide(argv, one.place, one.key, now, cost, true)
  if after[5] then save(one.key, after[5], after[6], after[7], after[8]) end
  if after[1] == 1 then one.free, one.whole_after = after[2], after[4] end
end

-- settle(argv, one, now, allowed): takes the cost from a limit that was looked at, if all allow it; else a limit that
-- refuses by itself does what it does alone.
local function settle(argv, one, now, allowed)
  if allowed then
    charge(argv, one, now, one.cost)
    one.remaining = math.max(0, one.free - one.holds.held)
    one.reset_after = math.max(one.whole_after, one.holds.last)
  elseif one.refused then
    charge(argv, one, now, one.refused)
  end
end

-- stand_beside(found, held, last): how limits stand once so much is held, and the last hold ends in so many us.
local function stand_beside(found, held, last)
  for _, one in ipairs(found) do
    one.remaining, one.reset_after = math.max(0, one.free - held), math.max(one.whole_after, last)
  end
end

-- say(answer, found): adds to an answer what each limit says.
local function say(answer, found)
  for _, one in ipairs(found) do
    local at = #answer
    answer[at + 1], answer[at + 2] = one.allowed, one.remaining
    answer[at + 3], answer[at + 4] = one.retry_after, one.reset_after
  end
  return answer
end
