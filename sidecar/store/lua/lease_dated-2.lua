-- Gives one caller the leave to load an entry that is not fresh, or says why not, where an entry, a leave and the news that
-- the origin has none do not count if they are out of date. The caller's token opens with the position of its look.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- ARGV[1]  the caller's token
-- ARGV[2]  for how long the caller may load (ms)
-- ARGV[3]  the version of the entry that is to be loaded though it is fresh, * for any, '' for none
-- ARGV[4]  the token of an asking whose answer was lost, whose lease the caller takes over; '' for none
-- ARGV[5]  the position below which nothing counts
-- returns  {1 it is fresh | 2 the caller loads | 3 another loads | 4 the origin has none, for how long that is so (ms), the
--          entry or ''}
-- include: now
-- include: header
-- include: dated
-- include: loads
local FRESH, GRANTED, TAKEN, ABSENT = 1, 2, 3, 4
local floor = tonumber(ARGV[5])
local entry = redis.call('GET', KEYS[1])
if entry then
  local version, _, fresh_until, position = parse_dated(entry)
  if not version then return malformed() end
  local left = left_ms(fresh_until, now_us())
  if position < floor then
    entry = false
  elseif left > 0 and not loads_anyway(ARGV[3], version) then
    return {FRESH, left, entry}
  end
end
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[4] then
  local nothing_there = string.sub(held, 1, #NOTHING_THERE) == NOTHING_THERE
  local begins = nothing_there and #NOTHING_THERE + 1 or 1
  if (tonumber(string.sub(held, begins, begins + POSITION_DIGITS - 1)) or 0) >= floor then
    return {nothing_there and ABSENT or TAKEN, math.max(1, redis.call('PTTL', KEYS[2])), entry or ''}
  end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {GRANTED, tonumber(ARGV[2]), entry or ''}
