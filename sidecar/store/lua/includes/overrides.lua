-- The overrides of a tenant: one hash, so that they, their number and their version live and die as one. Its fields are
--   <policy>:<key>  when the override ends (us since the epoch), a colon, and what it says
--   version         a time that grows with each change; no policy's name is without a colon
local VERSION = 'version'

-- live_overrides(key, now): removes what has ended; returns how many are left, and when the last of them ends (us).
local function live_overrides(key, now)
  local stored = redis.call('HGETALL', key)
  local number, last = 0, 0
  for place = 1, #stored, 2 do
    if stored[place] ~= VERSION then
      local ends = tonumber(string.match(stored[place + 1], '^%d+'))
      if ends <= now then
        redis.call('HDEL', key, stored[place])
      else
        number, last = number + 1, math.max(last, ends)
      end
    end
  end
  return number, last
end

-- keep_overrides(key, now, last): gives the overrides a version that none had before, and lets them live as long as the
-- last of them; returns the version.
local function keep_overrides(key, now, last)
  local version = math.max(now, tonumber(redis.call('HGET', key, VERSION) or 0) + 1)
  redis.call('HSET', key, VERSION, string.format('%.0f', version))
  redis.call('PEXPIRE', key, math.max(1, math.ceil((last - now) / 1000)))
  return version
end
