-- gcra(key, now, cost, taking, burst, num, den, tick): decides on one call by the generic cell rate algorithm. Answers as
-- `token_bucket` does. The algorithm stands in sidecar/ratelimit/models/gcra.py.
-- The state is a tag and the theoretical arrival time: its tick (us), and what it is past that, in num-ths of a tick.
local function gcra(key, now, cost, taking, burst, num, den, tick)
  local TAG, BYTES, LAYOUT = 4, 17, '>BI8I8'
  local floor, ceil = math.floor, math.ceil
  local phase = now % tick
  local at = now - phase

  -- time_of(tokens): how long it takes until so many have come, in ticks and num-ths of a tick.
  local function time_of(tokens)
    local rounds = floor(tokens / num)
    local parts = (tokens - rounds * num) * den
    local ticks = floor(parts / num)
    return rounds * den + ticks, parts - ticks * num
  end

  -- How far ahead of `at` the theoretical arrival time is.
  local ahead, parts, moved = 0, 0, false
  local state = redis.call('GET', key)
  if state then
    local tag, stored_at, stored_parts = 0, 0, 0
    if #state == BYTES then tag, stored_at, stored_parts = struct.unpack(LAYOUT, state) end
    if tag ~= TAG then return nil, redis.error_reply('SCFORMAT not a theoretical arrival time of this format') end
    if stored_at >= at then
      ahead, parts = ceil((stored_at - at) / tick), stored_parts
      -- Another num wrote it: the policy has changed, and the part of a tick counts as a whole one.
      if parts >= num then ahead, parts = ahead + 1, 0 end
      local full, full_parts = time_of(burst)
      if ahead > full or (ahead == full and parts > full_parts) then
        -- The clock went back, or the policy has changed: never more than a whole burst is owed.
        ahead, parts, moved = full, full_parts, true
      end
    end
  end

  taking = taking and cost > 0
  local allowed, retry_after = 1, 0
  if cost > 0 then
    local allowance, allowance_parts = time_of(burst - cost)
    local wait = ahead - allowance
    if parts > allowance_parts then wait = wait + 1 end
    if wait > 0 then
      allowed, retry_after = 0, wait * tick - phase
    elseif taking then
      local ticks, more = time_of(cost)
      ahead, parts = ahead + ticks, parts + more
      if parts >= num then ahead, parts = ahead + 1, parts - num end
    end
  end
  local rounds = floor(ahead / den)
  local remaining = burst - rounds * num - ceil(((ahead - rounds * den) * num + parts) / den)
  local reset_after = ahead
  if parts > 0 then reset_after = reset_after + 1 end
  if reset_after > 0 then reset_after = reset_after * tick - phase end
  -- A refused call writes nothing, except where less is owed than is stored: else that would be owed again later.
  if taking and (allowed == 1 or moved) then
    state = struct.pack(LAYOUT, TAG, at + ahead * tick, parts)
    return allowed, remaining, retry_after, reset_after, state, ceil(reset_after / 1000)
  end
  return allowed, remaining, retry_after, reset_after
end
