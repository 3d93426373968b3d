-- A write with an idempotency key leaves its answer in a record beside the entry, in the same script. The record
-- opens with a fingerprint of the request, so that a key used for two different requests is found out.
local FINGERPRINT_BYTES = 16

-- recall(key, fingerprint): the answer of the first such request, an error, or nil if this is the first.
local function recall(key, fingerprint)
  if fingerprint == '' then return nil end
  local record = redis.call('GET', key)
  if not record then return nil end
  if string.sub(record, 1, FINGERPRINT_BYTES) ~= fingerprint then
    return redis.error_reply('SCREUSED the idempotency key belongs to another request')
  end
  return cmsgpack.unpack(string.sub(record, FINGERPRINT_BYTES + 1))
end

-- remember(key, fingerprint, window_ms, answer): records the answer, and returns it.
local function remember(key, fingerprint, window_ms, answer)
  if fingerprint ~= '' then
    redis.call('SET', key, fingerprint .. cmsgpack.pack(answer), 'PX', window_ms)
  end
  return answer
end
