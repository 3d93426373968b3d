-- Gives one caller the leave to load an entry that is not fresh, or says why not.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- ARGV[1]  the caller's token
-- ARGV[2]  for how long the caller may load (ms)
-- ARGV[3]  the version of the entry that is to be loaded though it is fresh, * for any, '' for none
-- ARGV[4]  the token of an asking whose answer was lost, whose lease the caller takes over; '' for none
-- returns  {1 it is fresh | 2 the caller loads | 3 another loads | 4 the origin has none, for how long that is so (ms), the
--          entry or ''}
-- include: now
-- include: header
-- include: loads
-- include: leave
local entry = redis.call('GET', KEYS[1])
if entry then
  local version, _, fresh_until = parse_either(entry)
  if not version then return malformed() end
  local left = left_ms(fresh_until, now_us())
  if left > 0 and not loads_anyway(ARGV[3], version) then return {FRESH, left, entry} end
end
return give_leave(KEYS[2], ARGV[1], ARGV[2], ARGV[4], entry)
