-- now_us(): the store's time, in microseconds since the Unix epoch. Tests replace this include.
local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
