-- An entry of a cache with tags or generations may have 'S', 2 in place of 'S', 1 ('S', 4 of 'S', 3), and between its header
-- and its value
--   8 bytes  the position that it was written at (includes/generations.lua), big-endian like the rest
--   2 bytes  how long its tags are together; then the tags, each behind a byte that says how long it is
local DATED_BYTES = 34
local POSITION_DIGITS = 16

local function is_dated(text)
  local magic = string.sub(text, 1, #DATED_MAGIC)
  return magic == DATED_MAGIC or magic == DATED_PACKED_MAGIC
end

-- parse_dated(text): version, written_us, fresh_until_us and position, 0 for an entry without one; nil if it is no entry.
local function parse_dated(text)
  local version, written, fresh_until = parse_either(text)
  if not version or not is_dated(text) then return version, written, fresh_until, 0 end
  if #text < DATED_BYTES then return nil end
  return version, written, fresh_until, (struct.unpack('>I8', text, HEADER_BYTES + 1))
end

-- make_dated_header(version, written_us, fresh_until_us, magic): DATED_MAGIC if there is no other.
local function make_dated_header(version, written_us, fresh_until_us, magic)
  return make_header(version, written_us, fresh_until_us, magic or DATED_MAGIC)
end
