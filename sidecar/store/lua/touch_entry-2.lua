-- Gives a value a new TTL, counted from now.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- ARGV[1]  for how long it is fresh from now (ms)
-- ARGV[2]  for how long after that it may be served stale (ms)
-- ARGV[3]  the request's fingerprint, or '' without an idempotency key
-- ARGV[4]  how long the record is kept (ms)
-- returns  {1 applied | 3 not found, version, fresh_ms, the time (us), after that of the version}
-- include: now
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[3])
if answer then return answer end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
local now = now_us()
if head == '' then return remember(KEYS[2], ARGV[3], ARGV[4], {NOT_FOUND, 0, 0, now}) end
local version, written_us = parse_value(head)
if not version then return malformed() end
local fresh_ms = tonumber(ARGV[1])
redis.call('SETRANGE', KEYS[1], 0, make_header(version, written_us, now + fresh_ms * 1000, string.sub(head, 1, #MAGIC)))
redis.call('PEXPIRE', KEYS[1], fresh_ms + tonumber(ARGV[2]))
return remember(KEYS[2], ARGV[3], ARGV[4], {APPLIED, version, fresh_ms, math.max(now, version + 1)})
