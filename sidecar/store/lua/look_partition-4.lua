-- Says how a partition stands.
-- KEYS[1]  the owner
-- KEYS[2]  the stream of changes
-- KEYS[3]  what is taken
-- KEYS[4]  the dead letters, a stream
-- returns  {how many changes wait, how many are taken, the least id of them or '', the greatest or '', how many dead
--          letters, the owner's name or ''}
-- include: now
-- include: behind
-- include: dead_names
local first, last = '', ''
local taken = 0
local function see(id)
  if first == '' or is_newer(first, id) then first = id end
  if last == '' or is_newer(id, last) then last = id end
end
for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
  if string.sub(field, 1, 1) == 'i' then
    taken = taken + 1
    see(string.sub(field, 2))
  end
end
for _, item in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)) do see(item[1]) end
for _, item in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)) do see(item[1]) end
local owner = redis.call('HMGET', KEYS[1], 'h', 'u')
local name = owner[1] and tonumber(owner[2] or 0) > now_us() and owner[1] or ''
return {redis.call('XLEN', KEYS[2]), taken, first, last, redis.call('XLEN', KEYS[4]), name}
