-- Counts hits in a fixed window, aligned to the epoch. What it does when the clock goes back stands in
-- sidecar/ratelimit/envoy/window.py, which this script equals step by step.
-- KEYS[1]  the window's count; no key is a count of 0
-- ARGV[1]  how long a window is (us)
-- ARGV[2]  hits (at most 2^32); 0 only looks
-- returns  {the count with these hits, reset_after_us, now_us}
-- include: now
-- The state is a tag, the window's number since the epoch, and the count.
local TAG, BYTES, LAYOUT = 2, 17, '>BI8I8'
-- 2^53 - 1: where integers end to be exact.
local MOST = 9007199254740991
local length, hits = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_us()
local current, count = math.floor(now / length), 0
local state = redis.call('GET', KEYS[1])
if state then
  local tag, number, stored = 0, 0, 0
  if #state == BYTES then tag, number, stored = struct.unpack(LAYOUT, state) end
  if tag ~= TAG then return redis.error_reply('SCFORMAT not a counted window of this format') end
  -- The next window is met after the clock went back.
  if number == current or number == current + 1 then current, count = number, stored end
end
local reset_after = (current + 1) * length - now
if hits > 0 then
  count = math.min(count + hits, MOST)
  redis.call('SET', KEYS[1], struct.pack(LAYOUT, TAG, current, count), 'PX', math.ceil(reset_after / 1000))
end
return {count, reset_after, now}
