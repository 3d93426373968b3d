-- Adds to a decimal integer, which is made if there is none. A counter that is there keeps its TTL.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more; nobody most often
-- ARGV[1]  what to add, within +-(2^53-1)
-- ARGV[2]  what to begin with, within +-(2^53-1)
-- ARGV[3]  for how long a new counter is fresh (ms)
-- ARGV[4]  for how long after that it may be served stale (ms)
-- ARGV[5]  the request's fingerprint, or '' without an idempotency key
-- ARGV[6]  how long the record is kept (ms)
-- returns  {1, version, fresh_ms, the sum as text}
-- include: now
-- include: header
-- include: idempotency
local MAX_EXACT = 9007199254740991 -- 2^53-1: Lua's numbers are doubles
local answer = recall(KEYS[2], ARGV[5])
if answer then return answer end
local now = now_us()
local entry = redis.call('GET', KEYS[1])
local value, version, fresh_until = tonumber(ARGV[2]), nil, nil
if entry then
  local written
  version, written, fresh_until = parse_header(entry)
  -- No number is so long that it would be compressed.
  if not version and parse_value(entry) then return redis.error_reply('SCNOTINT not a decimal integer') end
  if not version then return malformed() end
  local text = string.sub(entry, HEADER_BYTES + 1)
  value = #text <= 17 and string.match(text, '^%-?%d+$') and tonumber(text)
  if not value then return redis.error_reply('SCNOTINT not a decimal integer') end
end
local sum = value + tonumber(ARGV[1])
if math.abs(value) > MAX_EXACT or math.abs(sum) > MAX_EXACT then
  return redis.error_reply('SCRANGE beyond 2^53-1')
end
local text = string.format('%.0f', sum)
version = next_version(version, now)
if entry then
  redis.call('SET', KEYS[1], make_header(version, now, fresh_until) .. text, 'KEEPTTL')
else
  fresh_until = now + tonumber(ARGV[3]) * 1000
  redis.call('SET', KEYS[1], make_header(version, now, fresh_until) .. text, 'PX', tonumber(ARGV[3]) + tonumber(ARGV[4]))
end
redis.call('DEL', KEYS[3])
return remember(KEYS[2], ARGV[5], ARGV[6], {APPLIED, version, left_ms(fresh_until, now), text})
