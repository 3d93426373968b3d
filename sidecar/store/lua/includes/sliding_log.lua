-- sliding_log(key, now, cost, taking, limit, window): decides on one call against an exact log. Answers as `token_bucket`
-- does; two more values say that what is to be written goes behind the state, not in its place, and how many entries
-- may be passed over, if that is to be written too (`save`). The algorithm stands in sidecar/ratelimit/models/sliding_log.py.
-- The state is a tag, the sum of all costs that were dropped, the number of entries that had left the window some calls
-- ago, and the entries, oldest first: the time (us) and the sum of all costs up to this one. Sums make what an interval
-- holds a subtraction, so an entry is found by halving.
local function sliding_log(key, now, cost, taking, limit, window)
  local TAG, HEAD_BYTES, ENTRY_BYTES, HEAD, ENTRY, NUMBER = 5, 12, 14, '>BI7I4', '>I7I7', '>I7'
  -- Up to so many entries are read and written whole (models/sliding_log.py); of a longer log so many are read at once.
  local SHORT = 64
  local floor, unpack_number = math.floor, struct.unpack
  -- What has been read of the state, and what comes before it.
  local text, offset = limit <= SHORT and redis.call('GET', key), 0
  local whole = text
  local bytes = text and #text or redis.call('STRLEN', key)
  local count, passed, dropped = 0, 0, 0
  if bytes > 0 or text or redis.call('EXISTS', key) == 1 then
    local tag = 0
    count = (bytes - HEAD_BYTES) / ENTRY_BYTES
    if count >= 1 then
      tag, dropped, passed = struct.unpack(HEAD, text or redis.call('GETRANGE', key, 0, HEAD_BYTES - 1))
    end
    if tag ~= TAG or count ~= floor(count) then
      return nil, redis.error_reply('SCFORMAT not a sliding log of this format')
    end
  end

  local function number_at(position)
    if not text or position < offset or position + 7 > offset + #text then
      text, offset = redis.call('GETRANGE', key, position, position + SHORT * ENTRY_BYTES - 1), position
    end
    return (unpack_number(NUMBER, text, position - offset + 1))
  end
  local function time_of(entry) return number_at(HEAD_BYTES + (entry - 1) * ENTRY_BYTES) end
  local function sum_to(entry) return entry == 0 and dropped or number_at(HEAD_BYTES + entry * ENTRY_BYTES - 7) end

  local at, newest, total, before, used = now, nil, 0, 0, 0
  local first = 1
  if count > 0 then newest, total = time_of(count), sum_to(count) end
  if newest and newest > now then
    -- The clock went back: by less than the window, and time stands at the newest entry; by more, and the log is void.
    if newest - now > window then count, newest = 0, nil else at = newest end
  end
  if newest then
    local since, stop = at - window, count + 1
    if newest < since then
      first, newest = stop, nil
    else
      if passed > 0 and time_of(passed) < since then
        first = passed + 1
      elseif passed > 0 then
        stop = passed
      end
      -- What was read last holds the entry that is sought, most often.
      local near = math.min(first + SHORT - 2, count)
      if near < stop and time_of(first) >= since then
        stop = first
      elseif near < stop and time_of(near) >= since then
        stop = near
      end
      while first < stop do
        local middle = floor((first + stop) / 2)
        if time_of(middle) >= since then stop = middle else first = middle + 1 end
      end
      before = sum_to(first - 1)
      used = total - before
    end
  end

  local allowed, retry_after, written, ttl_ms, appends, passes = 1, 0, nil, nil, false, nil
  if cost > 0 then
    local excess = used + cost - limit
    if excess > 0 then
      allowed = 0
      local low, high = first, count
      if sum_to(low) - before >= excess then high = low end
      while low < high do
        local middle = floor((low + high) / 2)
        if sum_to(middle) - before >= excess then high = middle else low = middle + 1 end
      end
      retry_after = time_of(low) + window + 1 - now
    elseif taking then
      written = struct.pack(ENTRY, at, total + cost)
      local gone = first - 1
      local live = count - gone
      if live == 0 then
        written = struct.pack(HEAD .. 'I7I7', TAG, 0, 0, at, cost)
      elseif whole or gone > live then
        local from = HEAD_BYTES + gone * ENTRY_BYTES
        local kept = whole and string.sub(whole, from + 1) or redis.call('GETRANGE', key, from, -1)
        written = struct.pack(HEAD, TAG, before, 0) .. kept .. written
      else
        appends = true
        if gone < passed or gone - passed > SHORT / 2 then passes = gone end
      end
      used, newest = used + cost, at
      ttl_ms = math.ceil((at + window + 1 - now) / 1000)
    end
  end
  local reset_after = newest and newest + window + 1 - now or 0
  return allowed, math.max(0, limit - used), retry_after, reset_after, written, ttl_ms, appends, passes
end
