-- save(key, text, ttl_ms, appends, passes): writes what an algorithm has decided to, in place of the state or behind it.
local function save(key, text, ttl_ms, appends, passes)
  if appends then
    redis.call('APPEND', key, text)
    if passes then redis.call('SETRANGE', key, 8, struct.pack('>I4', passes)) end
    redis.call('PEXPIRE', key, ttl_ms)
  else
    redis.call('SET', key, text, 'PX', ttl_ms)
  end
end
