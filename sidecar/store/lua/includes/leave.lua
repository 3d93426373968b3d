-- What who asks for the leave to load an entry is answered.
local FRESH, GRANTED, TAKEN, ABSENT = 1, 2, 3, 4

-- give_leave(key, token, lease_ms, instead_of, entry): gives the leave, also where the token has it that this one is instead
-- of, unless another has it or the origin has none.
local function give_leave(key, token, lease_ms, instead_of, entry)
  local held = redis.call('GET', key)
  if held and held ~= instead_of then
    return {held == NOTHING_THERE and ABSENT or TAKEN, math.max(1, redis.call('PTTL', key)), entry or ''}
  end
  redis.call('SET', key, token, 'PX', lease_ms)
  return {GRANTED, tonumber(lease_ms), entry or ''}
end
