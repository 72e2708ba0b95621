"""What the redis store does in one go, in redis' own language: nobody sees the middle of it.

Keys, after the prefix: s:ID a session (o owner, v version, f highest fence, e end, n bytes, h head, i:NAME an
item), o:OWNER its ids, u:OWNER and u what they hold, due ids by their end, l:ID a lease, t:ID a tombstone,
fence the last fence that was given.
"""

from __future__ import annotations

_COMMON = """
local prefix = ARGV[1]
local function count(owner, sessions, nbytes)
  for _, key in ipairs({'u', 'u:' .. owner}) do
    redis.call('HINCRBY', prefix .. key, 'c', sessions)
    redis.call('HINCRBY', prefix .. key, 'n', nbytes)
  end
end
local function forget(id)
  local key = prefix .. 's:' .. id
  local owner = redis.call('HGET', key, 'o')
  if not owner then return false end
  count(owner, -1, -redis.call('HGET', key, 'n'))
  redis.call('DEL', key)
  redis.call('ZREM', prefix .. 'o:' .. owner, id)
  redis.call('ZREM', prefix .. 'due', id)
  return owner
end
"""

COMMIT = (
    _COMMON
    + """
local changes, at = {}, 3
for number = 1, tonumber(ARGV[2]) do
  local change = {id = ARGV[at], owner = ARGV[at + 1], version = ARGV[at + 2], fence = ARGV[at + 3],
                  ends = ARGV[at + 4], nbytes = ARGV[at + 5], head = ARGV[at + 6], removes = {}, puts = {}}
  at = at + 7
  for _ = 1, tonumber(ARGV[at]) do
    at = at + 1
    table.insert(change.removes, ARGV[at])
  end
  at = at + 1
  for _ = 1, tonumber(ARGV[at]) do
    table.insert(change.puts, {ARGV[at + 1], ARGV[at + 2]})
    at = at + 2
  end
  at = at + 1
  local held = redis.call('HMGET', prefix .. 's:' .. change.id, 'v', 'f')
  if (held[1] or '0') ~= change.version or (held[2] or '0') ~= change.fence then return 0 end
  changes[number] = change
end
for _, change in ipairs(changes) do
  local key = prefix .. 's:' .. change.id
  if change.version == '0' then
    redis.call('ZADD', prefix .. 'o:' .. change.owner, 0, change.id)
    count(change.owner, 1, change.nbytes)
  else
    count(change.owner, 0, change.nbytes - redis.call('HGET', key, 'n'))
  end
  redis.call('HSET', key, 'o', change.owner, 'v', string.format('%d', change.version + 1), 'e', change.ends,
             'n', change.nbytes, 'h', change.head)
  if change.ends == '' then
    redis.call('ZREM', prefix .. 'due', change.id)
  else
    redis.call('ZADD', prefix .. 'due', change.ends, change.id)
  end
  for _, name in ipairs(change.removes) do redis.call('HDEL', key, 'i:' .. name) end
  for _, put in ipairs(change.puts) do redis.call('HSET', key, 'i:' .. put[1], put[2]) end
end
return 1
"""
)

SCAN = """
local key, found = ARGV[1] .. 's:' .. ARGV[2], {}
local wanted = 'i:' .. ARGV[3]
for _, name in ipairs(redis.call('HKEYS', key)) do
  if string.sub(name, 1, #wanted) == wanted then
    table.insert(found, string.sub(name, 3))
    table.insert(found, redis.call('HGET', key, name))
  end
end
return found
"""

DELETE = (
    _COMMON
    + """
redis.call('DEL', prefix .. 't:' .. ARGV[2])
forget(ARGV[2])
"""
)

EXPIRE = (
    _COMMON
    + """
local id, now = ARGV[2], tonumber(ARGV[3])
local ends = redis.call('ZSCORE', prefix .. 'due', id)
if not ends or tonumber(ends) > now or redis.call('EXISTS', prefix .. 'l:' .. id) == 1 then return 0 end
local owner = forget(id)
redis.call('SET', prefix .. 't:' .. id, ARGV[4] .. ' ' .. owner, 'EX', math.max(1, math.ceil(ARGV[4] - now)))
return 1
"""
)

CLAIM = """
local prefix, id = ARGV[1], ARGV[2]
local lease = prefix .. 'l:' .. id
if redis.call('EXISTS', lease) == 1 then return {0, redis.call('PTTL', lease)} end
local fence = redis.call('INCR', prefix .. 'fence')
redis.call('SET', lease, fence, 'PX', ARGV[3])
local key = prefix .. 's:' .. id
if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'f', fence) end
return {1, fence}
"""

RENEW = """
local lease = ARGV[1] .. 'l:' .. ARGV[2]
local holder = redis.call('GET', lease) or redis.call('HGET', ARGV[1] .. 's:' .. ARGV[2], 'f')
if holder == ARGV[3] then redis.call('SET', lease, ARGV[3], 'PX', ARGV[4]) end
"""

RELEASE = """
local lease = ARGV[1] .. 'l:' .. ARGV[2]
if redis.call('GET', lease) == ARGV[3] then redis.call('DEL', lease) end
"""
