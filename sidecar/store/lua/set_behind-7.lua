-- Writes a value with its header and TTL, and the change for the origin, if the condition holds.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more
-- KEYS[4]  what is pending, by name
-- KEYS[5]  the stream of changes
-- KEYS[6]  what is taken
-- KEYS[7]  the owner
-- ARGV[1]  the value
-- ARGV[2]  for how long it is fresh (ms)
-- ARGV[3]  for how long after that it may be served stale (ms)
-- ARGV[4]  the condition: '', 'absent', 'present' or a version
-- ARGV[5]  the request's fingerprint, or '' without an idempotency key
-- ARGV[6]  how long the record is kept (ms)
-- ARGV[7]  the entry's name
-- ARGV[8]  the origin's key, sealed; '' where it is the name
-- ARGV[9]  1 if changes of a name coalesce, else 0
-- ARGV[10] the most changes that may be pending
-- ARGV[11] what the entry opens with; not given for a plain one
-- returns  {1 applied | 2 condition not met, version, fresh_ms}
-- include: now
-- include: header
-- include: idempotency
-- include: behind
local answer = recall(KEYS[2], ARGV[5])
if answer then return answer end
local pending = redis.call('HGET', KEYS[4], ARGV[7])
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
if head == '' then head = pending_entry(pending) or '' end
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
local entry = make_header(version, now, now + fresh_ms * 1000, ARGV[11]) .. ARGV[1]
local full = put_change({KEYS[4], KEYS[5], KEYS[6], KEYS[7]}, ARGV[7], ARGV[8], entry, ARGV[9] == '1',
  tonumber(ARGV[10]), pending)
if full then return full end
redis.call('SET', KEYS[1], entry, 'PX', fresh_ms + tonumber(ARGV[3]))
redis.call('DEL', KEYS[3])
return remember(KEYS[2], ARGV[5], ARGV[6], {APPLIED, version, fresh_ms})
