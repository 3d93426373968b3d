-- Writes a whole record, a hash whose field '' is the header, with its TTL, if the condition holds.
-- KEYS[1]  the record
-- KEYS[2]  the record of the idempotency key; the record's key again if there is none
-- ARGV[1]  for how long it is fresh (ms)
-- ARGV[2]  for how long after that it may be served stale (ms)
-- ARGV[3]  the condition: '', 'absent', 'present' or a version
-- ARGV[4]  the request's fingerprint, or '' without an idempotency key
-- ARGV[5]  how long the idempotency record is kept (ms)
-- ARGV[6]  the first field's name; after it come its value and the other names and values
-- returns  {1 applied | 2 condition not met, version, fresh_ms}
-- include: now
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[4])
if answer then return answer end
local head = redis.call('HGET', KEYS[1], '')
local version
if head then
  version = parse_header(head)
  if not version then return malformed() end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  return malformed()
end
if not holds(ARGV[3], version) then
  return remember(KEYS[2], ARGV[4], ARGV[5], {CONDITION_NOT_MET, version or 0, 0})
end
local now = now_us()
local fresh_ms = tonumber(ARGV[1])
version = next_version(version, now)
-- Asked first, so that a user whose ACL lacks the command leaves no record without a TTL.
redis.call('PEXPIRE', KEYS[1], fresh_ms)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', make_header(version, now, now + fresh_ms * 1000), ARGV[6], unpack(ARGV, 7))
redis.call('PEXPIRE', KEYS[1], fresh_ms + tonumber(ARGV[2]))
return remember(KEYS[2], ARGV[4], ARGV[5], {APPLIED, version, fresh_ms})
