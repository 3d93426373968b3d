-- Removes an entry if it has a tag that is invalidated, and keeps off who is about to write one that may.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it, who must not fill it any more
-- KEYS[3]  its fence: what is written with another than this is out of date at once
-- ARGV[1]  the tag
-- ARGV[2]  the position below which the entry does not count
-- ARGV[3]  how long a write may be under way (ms)
-- returns  1 if an entry was removed that counted, else 0
-- include: now
-- include: header
-- include: dated
local function has_tag(tag)
  local size = redis.call('GETRANGE', KEYS[1], DATED_BYTES, DATED_BYTES + 1)
  if #size < 2 then return false end
  local tags = redis.call('GETRANGE', KEYS[1], DATED_BYTES + 2, DATED_BYTES + 1 + struct.unpack('>I2', size))
  local place = 1
  while place <= #tags do
    local ends = place + string.byte(tags, place)
    if string.sub(tags, place + 1, ends) == tag then return true end
    place = ends + 1
  end
  return false
end

local removed = 0
local head = redis.call('GETRANGE', KEYS[1], 0, DATED_BYTES - 1)
if is_dated(head) and has_tag(ARGV[1]) then
  local _, _, _, position = parse_dated(head)
  redis.call('DEL', KEYS[1])
  if position >= tonumber(ARGV[2]) then removed = 1 end
end
redis.call('DEL', KEYS[2])
local fence = math.max(now_us(), tonumber(redis.call('GET', KEYS[3]) or 0) + 1)
redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', ARGV[3])
return removed
