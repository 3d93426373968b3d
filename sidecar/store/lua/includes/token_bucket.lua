-- token_bucket(key, now, cost, taking, burst, num, den, tick): decides on one call against a token bucket. Answers with
-- allowed (1 or 0; nil: an error reply follows instead), remaining, retry_after_us and reset_after_us; then, if anything
-- is to be written, the new state and its TTL (ms). The algorithm stands in sidecar/ratelimit/model.py.
-- The state is a tag, the whole tokens, the fraction of the next one (in 1/den), and the tick it holds for (us).
local function token_bucket(key, now, cost, taking, burst, num, den, tick)
  local TAG, BYTES, LAYOUT = 1, 21, '>BI4I8I8'
  -- The longest duration, 2^53 - 1: longer ones are cut to it.
  local FOREVER_US = 9007199254740991
  local floor = math.floor
  local phase = now % tick
  local at = now - phase
  local whole, fraction, rewound = burst, 0, false
  local state = redis.call('GET', key)
  if state then
    local tag, stored_whole, stored_fraction, stored_at = 0, 0, 0, 0
    if #state == BYTES then tag, stored_whole, stored_fraction, stored_at = struct.unpack(LAYOUT, state) end
    if tag ~= TAG then return nil, redis.error_reply('SCFORMAT not a token bucket of this format') end
    -- Another den wrote it: the policy has changed, and part of a token is lost.
    if stored_fraction >= den then stored_fraction = 0 end
    rewound = stored_at > at
    local elapsed = rewound and 0 or floor((at - stored_at) / tick)
    local rounds = floor(elapsed / den)
    local parts = (elapsed - rounds * den) * num + stored_fraction
    -- rounds * num may pass 2^53 and be rounded; then it is far above any burst, and the comparison still true.
    local level = stored_whole + rounds * num + floor(parts / den)
    if level < burst then whole, fraction = level, parts % den end
  end

  -- wait_us(missing): how long until `missing` (>= 1) more whole tokens are there.
  local function wait_us(missing)
    local rounds = floor((missing - 1) / num)
    local parts = (missing - 1 - rounds * num) * den + den - fraction
    -- As above: what is rounded here is past 2^53, and cut.
    local ticks = math.min(rounds * den + math.ceil(parts / num), floor(FOREVER_US / tick))
    return ticks * tick - phase
  end

  taking = taking and cost > 0
  local allowed, retry_after = 1, 0
  if cost > whole then
    allowed, retry_after = 0, wait_us(cost - whole)
  elseif taking then
    whole = whole - cost
  end
  local reset_after = whole < burst and wait_us(burst - whole) or 0
  -- A refused call writes nothing, except the new time after the clock went back: without it nothing would drop in until
  -- the clock has caught up.
  if taking and (allowed == 1 or rewound) then
    state = struct.pack(LAYOUT, TAG, whole, fraction, at)
    return allowed, whole, retry_after, reset_after, state, math.ceil(reset_after / 1000)
  end
  return allowed, whole, retry_after, reset_after
end
