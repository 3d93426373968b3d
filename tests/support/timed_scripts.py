"""Scripts whose time a test injects.

The include `now` is replaced by one that takes the time from one more argument. The server's own clock goes on and
would end a TTL of a millisecond between two steps at the same injected time, so the replacement also makes every TTL
count from a fixed point in the next century: no key is lost, and `PEXPIRETIME` gives the TTL back.
"""

from __future__ import annotations

from importlib import resources

import sidecar.store

TTLS_FROM_MS = 4_102_444_800_000  # the year 2100

LUA = resources.files(sidecar.store) / "lua"

TIMED_NOW = f"""
local function now_us() return tonumber(ARGV[#ARGV]) end
local server = redis
local redis = {{error_reply = server.error_reply}}
function redis.call(command, key, value, px, ttl_ms)
  if command == 'SET' then
    assert(px == 'PX' and ttl_ms >= 1)
    return server.call('SET', key, value, 'PXAT', {TTLS_FROM_MS} + ttl_ms)
  elseif command == 'PEXPIRE' then
    assert(value >= 1)
    return server.call('PEXPIREAT', key, {TTLS_FROM_MS} + value)
  elseif command == 'GETRANGE' or command == 'SETRANGE' then
    return server.call(command, key, value, px)
  elseif command == 'APPEND' then
    return server.call(command, key, value)
  end
  assert(command == 'GET' or command == 'STRLEN' or command == 'EXISTS')
  return server.call(command, key)
end
"""

TIMED_NOW_AMONG_OTHERS = f"""
local function now_us() return tonumber(ARGV[#ARGV]) end
local server = redis
local redis = {{error_reply = server.error_reply}}
function redis.call(command, ...)
  local key, value, px, ttl_ms = ...
  if command == 'SET' then
    assert(px == 'PX' and ttl_ms >= 1)
    return server.call('SET', key, value, 'PXAT', {TTLS_FROM_MS} + ttl_ms)
  elseif command == 'PEXPIRE' then
    assert(value >= 1)
    return server.call('PEXPIREAT', key, {TTLS_FROM_MS} + value)
  end
  return server.call(command, ...)
end
"""
"""The same for scripts that send commands of any other kind besides."""
