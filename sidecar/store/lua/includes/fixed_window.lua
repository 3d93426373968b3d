-- fixed_window(key, now, cost, taking, limit, charge_refused, length, first, second, third, fourth): decides on one call
-- against a fixed window. Answers as `token_bucket` does. The algorithm stands in sidecar/ratelimit/models/fixed_window.py.
-- The state is a tag, the window's start and end (us), and the count.
local function fixed_window(key, now, cost, taking, limit, charge_refused, length, first, second, third, fourth)
  local TAG, BYTES, LAYOUT = 3, 25, '>BI8I8I8'
  -- Counts end here: refused costs are counted too, and may add up to anything in a year.
  local MOST = 4503599627370496
  local from, to
  if length > 0 then
    from = math.floor(now / length) * length
    to = from + length
  elseif now < first or now >= fourth then
    return nil, redis.error_reply('SCCLOCK the time is in none of the windows')
  elseif now < second then
    from, to = first, second
  elseif now < third then
    from, to = second, third
  else
    from, to = third, fourth
  end
  local count, moved = 0, false
  local state = redis.call('GET', key)
  if state then
    local tag, stored_from, stored_to, stored = 0, 0, 0, 0
    if #state == BYTES then tag, stored_from, stored_to, stored = struct.unpack(LAYOUT, state) end
    if tag ~= TAG then return nil, redis.error_reply('SCFORMAT not a fixed window of this format') end
    if stored_from == to then
      -- The clock went back, by less than a window: time stands at the start of the next one.
      from, to, count = stored_from, stored_to, stored
    elseif stored_from <= now and now < stored_to then
      -- If it has other bounds, the policy has changed: all that was counted counts in the present window.
      count, moved = stored, stored_from ~= from or stored_to ~= to
    end
  end

  local allowed, retry_after, ttl_ms = 1, 0, nil
  state = nil
  if cost > 0 then
    local refused = count + cost > limit
    if refused then allowed, retry_after = 0, to - now end
    local counts = taking and (not refused or charge_refused == 1)
    if counts then count = math.min(count + cost, MOST) end
    if counts or (taking and moved) then
      state, ttl_ms = struct.pack(LAYOUT, TAG, from, to, count), math.ceil((to - now) / 1000)
    end
  end
  return allowed, math.max(0, limit - count), retry_after, count > 0 and to - now or 0, state, ttl_ms
end
