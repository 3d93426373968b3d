-- Writes a value that was loaded with its position and tags, unless the leave to load it has ended or the entry was
-- written, deleted or invalidated by a tag since.
-- KEYS[1]  the entry
-- KEYS[2]  who loads it
-- ARGV[1]  the caller's token
-- ARGV[2]  the value, behind position and tags
-- ARGV[3]  for how long it is fresh (ms)
-- ARGV[4]  for how long after that it may be served stale (ms)
-- ARGV[5]  what the entry opens with; not given for a plain one
-- returns  {1 written | 0 refused, version, fresh_ms}
-- include: now
-- include: header
-- include: dated
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {0, 0, 0} end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
local before
if head ~= '' then
  before = parse_either(head)
  if not before then return malformed() end
end
local now = now_us()
local fresh_ms = tonumber(ARGV[3])
local version = next_version(before, now)
redis.call('SET', KEYS[1], make_dated_header(version, now, now + fresh_ms * 1000, ARGV[5]) .. ARGV[2],
  'PX', fresh_ms + tonumber(ARGV[4]))
redis.call('DEL', KEYS[2])
return {1, version, fresh_ms}
