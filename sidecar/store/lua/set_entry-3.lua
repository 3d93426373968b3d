-- Writes a value with its header and TTL, if the condition holds. What is being loaded meanwhile is older.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more; nobody most often
-- ARGV[1]  the value
-- ARGV[2]  for how long it is fresh (ms)
-- ARGV[3]  for how long after that it may be served stale (ms)
-- ARGV[4]  the condition: '', 'absent', 'present' or a version
-- ARGV[5]  the request's fingerprint, or '' without an idempotency key
-- ARGV[6]  how long the record is kept (ms)
-- ARGV[7]  what the entry opens with; not given for a plain one
-- returns  {1 applied | 2 condition not met, version, fresh_ms}
-- include: now
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[5])
if answer then return answer end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
local version
if head ~= '' then
  version = parse_either(head)
  if not version then return malformed() end
end
if not holds(ARGV[4], version) then
  return remember(KEYS[2], ARGV[5], ARGV[6], {CONDITION_NOT_MET, version or 0, 0})
end
local now = now_us()
local fresh_ms = tonumber(ARGV[2])
version = next_version(version, now)
redis.call('SET', KEYS[1], make_header(version, now, now + fresh_ms * 1000, ARGV[7]) .. ARGV[1],
  'PX', fresh_ms + tonumber(ARGV[3]))
redis.call('DEL', KEYS[3])
return remember(KEYS[2], ARGV[5], ARGV[6], {APPLIED, version, fresh_ms})
