-- An entry opens with a header: 'S', the format's number 1, then three big-endian 64-bit integers: the version, when
-- it was written and until when it is fresh, both in microseconds of the store's clock.
local HEADER_BYTES = 26
local MAGIC = 'S\1'
-- Of an entry with more than a value behind its header (includes/dated.lua), of one whose value is compressed, and of one
-- that is both. What is not MAGIC comes with the value, as who compresses knows alone.
local DATED_MAGIC, PACKED_MAGIC, DATED_PACKED_MAGIC = 'S\2', 'S\3', 'S\4'

local APPLIED, CONDITION_NOT_MET, NOT_FOUND = 1, 2, 3

-- make_header(version, written_us, fresh_until_us, magic): MAGIC if there is no other.
local function make_header(version, written_us, fresh_until_us, magic)
  return (magic or MAGIC) .. struct.pack('>I8I8I8', version, written_us, fresh_until_us)
end

-- parse_header(text): the version, written_us and fresh_until_us; nil if it is none.
local function parse_header(text)
  if #text < HEADER_BYTES or string.sub(text, 1, 2) ~= MAGIC then return nil end
  return struct.unpack('>I8I8I8', text, 3)
end

-- parse_value(text): the same, also of an entry whose value is compressed.
local function parse_value(text)
  if string.sub(text, 1, 2) == PACKED_MAGIC then text = MAGIC .. string.sub(text, 3, HEADER_BYTES) end
  return parse_header(text)
end

-- parse_either(text): the same, also of an entry with tags or a position.
local function parse_either(text)
  local magic = string.sub(text, 1, 2)
  if magic == DATED_MAGIC or magic == DATED_PACKED_MAGIC then text = MAGIC .. string.sub(text, 3, HEADER_BYTES) end
  return parse_value(text)
end

local function malformed()
  return redis.error_reply('SCFORMAT not an entry of this format')
end

-- next_version(old, now): a version is the time of the write, in microseconds, or one more than the last if that clock
-- stood still or went back. So versions also grow across deletions, unless that clock goes back in between.
local function next_version(old, now)
  if old and old >= now then return old + 1 end
  return now
end

-- holds(condition, version): whether '', 'absent', 'present' or a decimal version is true of an entry (nil: there is none).
local function holds(condition, version)
  if condition == '' then return true end
  if condition == 'absent' then return version == nil end
  if condition == 'present' then return version ~= nil end
  return version ~= nil and string.format('%.0f', version) == condition
end

-- left_ms(fresh_until_us, now): the milliseconds for which an entry is still fresh, rounded up.
local function left_ms(fresh_until_us, now)
  return math.max(0, math.ceil((fresh_until_us - now) / 1000))
end
