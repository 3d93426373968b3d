-- Decides on one call against a token bucket, and takes its cost if that much is there. The algorithm, its exactness and
-- what it does when the clock goes back stand in sidecar/ratelimit/model.py, which this script equals step by step.
-- KEYS[1]  the bucket; no key is a full bucket
-- ARGV[1]  burst: how many whole tokens it holds (at most 10^9)
-- ARGV[2]  num: num tokens drop in every den ticks, in lowest terms; (num + 1) * den < 2^53
-- ARGV[3]  den
-- ARGV[4]  the tick (us)
-- ARGV[5]  cost (tokens, at most burst)
-- ARGV[6]  1 to take the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining (tokens), retry_after_us, reset_after_us, now_us}
-- include: now
-- The state is a tag, the whole tokens, the fraction of the next one (in 1/den), and the tick it holds for (us).
local TAG, BYTES, LAYOUT = 1, 21, '>BI4I8I8'
-- The longest duration, 2^53 - 1: longer ones are cut to it.
local FOREVER_US = 9007199254740991
local floor = math.floor
local burst, num, den, tick = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cost = tonumber(ARGV[5])
local now = now_us()
local phase = now % tick
local at = now - phase
local whole, fraction, rewound = burst, 0, false
local state = redis.call('GET', KEYS[1])
if state then
  local tag, stored_whole, stored_fraction, stored_at = 0, 0, 0, 0
  if #state == BYTES then tag, stored_whole, stored_fraction, stored_at = struct.unpack(LAYOUT, state) end
  if tag ~= TAG then return redis.error_reply('SCFORMAT not a token bucket of this format') end
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

local taking = ARGV[6] == '1' and cost > 0
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
  redis.call('SET', KEYS[1], struct.pack(LAYOUT, TAG, whole, fraction, at), 'PX', math.ceil(reset_after / 1000))
end
return {allowed, whole, retry_after, reset_after, now}
