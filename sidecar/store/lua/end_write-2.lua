-- Ends a write that the origin did not make: the entry lives for as long as it would have without it.
-- KEYS[1]  the entry
-- KEYS[2]  who loads or writes it
-- ARGV[1]  the writer's token
-- ARGV[2]  for how long past its fresh time an entry is kept (ms)
-- returns  1 ended | 0 refused: the leave to write has ended, or the entry was deleted or invalidated since
-- include: now
-- include: header
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
local version, _, fresh_until = parse_either(head)
if version then
  local life_ms = math.ceil((fresh_until - now_us()) / 1000) + tonumber(ARGV[2])
  redis.call('PEXPIRE', KEYS[1], math.max(1, life_ms))
end
return 1
