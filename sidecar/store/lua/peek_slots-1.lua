-- Says what acquire_slots would, and writes nothing. sidecar/ratelimit/slots_model.py is its specification.
-- KEYS[1]  the leases; no key is none
-- ARGV[1]  limit: how many slots there are
-- ARGV[2]  slots to ask for (at most the limit)
-- returns  {1 they are free | 0 they are not, free, retry_after_us, reset_after_us, now_us}
-- include: now
-- include: leases
local limit, slots = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_us()
local used, longest = read_leases(KEYS[1], now)
if not used then return longest end

local reset_after, retry_after = 0, 0
if used > 0 then reset_after = math.min(last_end(KEYS[1]) - now, longest) end
if slots > 0 and used + slots > limit then retry_after = room_after(KEYS[1], now, used + slots - limit, longest) end
return {retry_after > 0 and 0 or 1, math.max(0, limit - used), retry_after, reset_after, now}
