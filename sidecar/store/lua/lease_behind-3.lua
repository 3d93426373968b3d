-- Gives one caller the leave to load an entry that is not fresh, or says why not: a change that is pending is newer than
-- what the origin has.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- KEYS[3]  what is pending, by name
-- ARGV[1]  the caller's token
-- ARGV[2]  for how long the caller may load (ms)
-- ARGV[3]  the version of the entry that is to be loaded though it is fresh, * for any, '' for none; what is pending is
--          loaded with * alone, which says that it cannot be read
-- ARGV[4]  the token of an asking whose answer was lost, whose lease the caller takes over; '' for none
-- ARGV[5]  the entry's name
-- ARGV[6]  for how long a pending change answers for the origin (ms)
-- returns  {1 it is fresh | 2 the caller loads | 3 another loads | 4 the origin has none, for how long that is so (ms), the
--          entry or ''}
-- include: now
-- include: header
-- include: loads
-- include: leave
-- include: behind
local now = now_us()
local entry = redis.call('GET', KEYS[1])
if entry then
  local version, _, fresh_until = parse_either(entry)
  if not version then return malformed() end
  local left = left_ms(fresh_until, now)
  if left > 0 and not loads_anyway(ARGV[3], version) then return {FRESH, left, entry} end
end
local pending = redis.call('HGET', KEYS[3], ARGV[5])
if pending and ARGV[3] ~= '*' then
  local newest = pending_entry(pending)
  local answers_ms = tonumber(ARGV[6])
  if not newest then return {ABSENT, answers_ms, ''} end
  local version, written = parse_either(newest)
  local head = make_header(version, written, now + answers_ms * 1000, string.sub(newest, 1, #MAGIC))
  return {FRESH, answers_ms, head .. string.sub(newest, HEADER_BYTES + 1)}
end
return give_leave(KEYS[2], ARGV[1], ARGV[2], ARGV[4], entry)
