-- sliding_window(key, now, cost, taking, limit, length, counted): decides on one call against a sliding window of
-- sub-windows. Answers as `token_bucket` does. The algorithm stands in sidecar/ratelimit/model.py.
-- The state is a tag, the sub-window's length (us), the number since the epoch of the newest one with a count, the sum
-- of all counts, and the counts, newest first. So the usual case (same sub-window as the last call) reads no other count.
local function sliding_window(key, now, cost, taking, limit, length, counted)
  local TAG, HEAD_BYTES, HEAD, COUNT = 1, 21, '>BI8I8I4', '>I4'
  local NONE = '\0\0\0\0'
  local floor = math.floor
  local current = floor(now / length)
  local used, counts, latest, moved = 0, NONE, nil, false
  local state = redis.call('GET', key)
  if state then
    local tag, stored_length, newest, sum = 0, 0, 0, 0
    if #state > HEAD_BYTES then tag, stored_length, newest, sum = struct.unpack(HEAD, state) end
    if tag ~= TAG then return nil, redis.error_reply('SCFORMAT not a sliding window of this format') end
    local stored = string.sub(state, HEAD_BYTES + 1)
    if stored_length ~= length then
      -- The policy has changed: all that was counted counts from now.
      newest, stored = math.max(current, floor(newest * stored_length / length)), struct.pack(COUNT, sum)
    end
    local age = current - newest
    if age < 0 and -age < counted then
      -- The clock went back, by less than the window: time stands at the start of the newest sub-window.
      current, age = newest, 0
    end
    if age >= 0 and age < counted then
      local kept_bytes = (counted - age) * 4
      for position = kept_bytes + 1, #stored, 4 do sum = sum - struct.unpack(COUNT, stored, position) end
      if #stored > kept_bytes then stored = string.sub(stored, 1, kept_bytes) end
      if age > 0 then stored = string.rep(NONE, age) .. stored end
      used, counts, latest, moved = sum, stored, newest, stored_length ~= length
    end
  end

  local allowed, retry_after, ttl_ms = 1, 0, nil
  state = nil
  if cost > 0 then
    local excess = used + cost - limit
    if excess > 0 then
      allowed = 0
      local position = #counts + 1
      while excess > 0 and position > 1 do
        position = position - 4
        excess = excess - struct.unpack(COUNT, counts, position)
      end
      retry_after = (current - (position - 1) / 4 + counted) * length - now
    elseif taking then
      used, latest = used + cost, current
      counts = struct.pack(COUNT, struct.unpack(COUNT, counts) + cost) .. string.sub(counts, 5)
    end
    -- A refused call writes nothing, except what an old policy's window has become: else it would count from now for good.
    if taking and (allowed == 1 or moved) then
      state = struct.pack(HEAD, TAG, length, current, used) .. counts
      ttl_ms = math.ceil(((current + counted) * length - now) / 1000)
    end
  end
  local reset_after = latest and (latest + counted) * length - now or 0
  return allowed, math.max(0, limit - used), retry_after, reset_after, state, ttl_ms
end
