"""Lua scripts of the redis store: each runs whole, and no other client sees its middle.

Keys, after the prefix: s:ID a session (o owner, v version, f highest fence, e end, n bytes, h head, a alias,
i:NAME an item, l:NAME the number of a shared one), o:OWNER its ids, u:OWNER and u what they hold, due ids by
their end, l:ID a lease, t:ID a tombstone, x:OWNER ids of tombstones by their end, x how many there are,
a:ALIAS a session's id, q:ID the fence of a claim that shall end, b:NUMBER a shared item, refs how many items
are each shared one, fence and blob the last fence and number that were given, schema the version of all this.
"""

from __future__ import annotations

from pararnn_server.sessions.stores.store import ITEM_BYTES, MAX_TOMBSTONES, SESSION_BYTES

_COMMON = (
    f"""
local SESSION_BYTES, ITEM_BYTES, MAX_TOMBSTONES = {SESSION_BYTES}, {ITEM_BYTES}, {MAX_TOMBSTONES}
"""
    + """
local prefix = ARGV[1]
local function count(owner, sessions, nbytes)
  for _, key in ipairs({'u', 'u:' .. owner}) do
    redis.call('HINCRBY', prefix .. key, 'c', sessions)
    -- Lua writes -0 and 1e+15, neither of which redis takes for a whole number.
    redis.call('HINCRBY', prefix .. key, 'n', string.format('%d', nbytes))
  end
end
local function drop(key, name)
  local number = redis.call('HGET', key, 'l:' .. name)
  if number then
    redis.call('HDEL', key, 'l:' .. name)
    if redis.call('HINCRBY', prefix .. 'refs', number, -1) <= 0 then
      redis.call('HDEL', prefix .. 'refs', number)
      redis.call('UNLINK', prefix .. 'b:' .. number)
    end
  end
  redis.call('HDEL', key, 'i:' .. name)
end
local function share(key, name, data)
  drop(key, name)
  local number = redis.call('INCR', prefix .. 'blob')
  redis.call('SET', prefix .. 'b:' .. number, data)
  redis.call('HINCRBY', prefix .. 'refs', number, 1)
  redis.call('HSET', key, 'l:' .. name, number)
end
local function size(key, name)
  local number = redis.call('HGET', key, 'l:' .. name)
  local field = 'i:' .. name
  if number then
    return ITEM_BYTES + #name + redis.call('STRLEN', prefix .. 'b:' .. number)
  elseif redis.call('HEXISTS', key, field) == 1 then
    return ITEM_BYTES + #name + redis.call('HSTRLEN', key, field)
  end
  return 0
end
local function forget_tombstone(id, owner)
  if redis.call('ZREM', prefix .. 'x:' .. owner, id) == 1 then redis.call('DECR', prefix .. 'x') end
  redis.call('DEL', prefix .. 't:' .. id)
end
local function forget_oldest(owner, number)
  if number <= 0 then return end
  local oldest = redis.call('ZRANGE', prefix .. 'x:' .. owner, 0, number - 1)
  for _, id in ipairs(oldest) do forget_tombstone(id, owner) end
end
local function forget(id)
  local key = prefix .. 's:' .. id
  local owner, alias = unpack(redis.call('HMGET', key, 'o', 'a'))
  if not owner then return false end
  count(owner, -1, 0 - redis.call('HGET', key, 'n'))
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'l:' then drop(key, string.sub(field, 3)) end
  end
  if alias then redis.call('DEL', prefix .. 'a:' .. alias) end
  redis.call('UNLINK', key)
  redis.call('ZREM', prefix .. 'o:' .. owner, id)
  redis.call('ZREM', prefix .. 'due', id)
  return owner
end
"""
)

_CHANGES = (
    _COMMON
    + """
local at, changes = 2, {}
local function take()
  at = at + 1
  return ARGV[at]
end
local function list(width)
  local found = {}
  for number = 1, tonumber(take()) do
    local entry = {}
    for part = 1, width do entry[part] = take() end
    found[number] = entry
  end
  return found
end
for number = 1, tonumber(ARGV[2]) do
  local change = {}
  for _, field in ipairs({'id', 'owner', 'version', 'fence', 'ends', 'head', 'alias'}) do
    change[field] = take()
  end
  change.removes = list(1)
  change.links = list(3)
  change.puts = list(2)
  change.shares = list(2)
  local held = redis.call('HMGET', prefix .. 's:' .. change.id, 'v', 'f')
  if (held[1] or '0') ~= change.version or (held[2] or '0') ~= change.fence then return 0 end
  if change.alias ~= '' then
    local named = redis.call('GET', prefix .. 'a:' .. change.alias)
    if named and named ~= change.id then return 0 end
  end
  for _, link in ipairs(change.links) do
    local source = redis.call('HMGET', prefix .. 's:' .. link[2], 'i:' .. link[3], 'l:' .. link[3])
    if not source[1] and not source[2] then return 0 end
    link.data, link.number = source[1], source[2]
  end
  changes[number] = change
end
local function growth(change)
  local key, after = prefix .. 's:' .. change.id, {}
  local total = #change.head - redis.call('HSTRLEN', key, 'h')
  if change.version == '0' then total = total + SESSION_BYTES end
  for _, name in ipairs(change.removes) do after[name[1]] = 0 end
  for _, link in ipairs(change.links) do
    local data = link.number and redis.call('STRLEN', prefix .. 'b:' .. link.number) or #link.data
    after[link[1]] = ITEM_BYTES + #link[1] + data
  end
  for _, puts in ipairs({change.puts, change.shares}) do
    for _, put in ipairs(puts) do after[put[1]] = ITEM_BYTES + #put[1] + #put[2] end
  end
  for name, nbytes in pairs(after) do total = total + nbytes - size(key, name) end
  return total
end
"""
)

GROWTH = (
    _CHANGES
    + """
local total = 0
for _, change in ipairs(changes) do total = total + growth(change) end
return total
"""
)

COMMIT = (
    _CHANGES
    + """
for _, change in ipairs(changes) do
  local key = prefix .. 's:' .. change.id
  local added = growth(change)
  if change.version == '0' then redis.call('ZADD', prefix .. 'o:' .. change.owner, 0, change.id) end
  count(change.owner, change.version == '0' and 1 or 0, added)
  redis.call('HINCRBY', key, 'n', string.format('%d', added))
  redis.call('HSET', key, 'o', change.owner, 'v', string.format('%d', change.version + 1), 'e', change.ends,
             'h', change.head)
  if change.ends == '' then
    redis.call('ZREM', prefix .. 'due', change.id)
  else
    redis.call('ZADD', prefix .. 'due', change.ends, change.id)
  end
  if change.alias ~= '' then
    local before = redis.call('HGET', key, 'a')
    if before then redis.call('DEL', prefix .. 'a:' .. before) end
    redis.call('SET', prefix .. 'a:' .. change.alias, change.id)
    redis.call('HSET', key, 'a', change.alias)
  end
  for _, link in ipairs(change.links) do
    if link.number then redis.call('HINCRBY', prefix .. 'refs', link.number, 1) end
  end
  for _, name in ipairs(change.removes) do drop(key, name[1]) end
  for _, link in ipairs(change.links) do
    drop(key, link[1])
    if link.number then
      redis.call('HSET', key, 'l:' .. link[1], link.number)
    else
      redis.call('HSET', key, 'i:' .. link[1], link.data)
    end
  end
  for _, put in ipairs(change.puts) do
    drop(key, put[1])
    redis.call('HSET', key, 'i:' .. put[1], put[2])
  end
  for _, put in ipairs(change.shares) do share(key, put[1], put[2]) end
end
return 1
"""
)

READ = """
local prefix, key = ARGV[1], ARGV[1] .. 's:' .. ARGV[2]
local found = redis.call('HMGET', key, 'i:' .. ARGV[3], 'l:' .. ARGV[3])
if found[2] then return redis.call('GET', prefix .. 'b:' .. found[2]) end
return found[1]
"""

# ARGV[4] is 1 for sizes, 0 for the items.
SCAN = """
local prefix, key, wanted, found = ARGV[1], ARGV[1] .. 's:' .. ARGV[2], ARGV[3], {}
for _, field in ipairs(redis.call('HKEYS', key)) do
  local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
  if (kind == 'i:' or kind == 'l:') and string.sub(name, 1, #wanted) == wanted then
    local shared = kind == 'l:' and prefix .. 'b:' .. redis.call('HGET', key, field)
    table.insert(found, name)
    if ARGV[4] == '1' then
      table.insert(found, shared and redis.call('STRLEN', shared) or redis.call('HSTRLEN', key, field))
    else
      table.insert(found, shared and redis.call('GET', shared) or redis.call('HGET', key, field))
    end
  end
end
return found
"""

SHARE = (
    _COMMON
    + """
local key, wanted = prefix .. 's:' .. ARGV[2], 'i:' .. ARGV[3]
local least, room = tonumber(ARGV[4]), tonumber(ARGV[5])
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, #wanted) == wanted and redis.call('HSTRLEN', key, field) >= least then
    if room <= 0 then return 1 end
    local data = redis.call('HGET', key, field)
    share(key, string.sub(field, 3), data)
    room = room - #data
  end
end
return 0
"""
)

# Measures a session that an older version of this program has written.
MEASURE = (
    _COMMON
    + """
local key = prefix .. 's:' .. ARGV[2]
local owner, before = unpack(redis.call('HMGET', key, 'o', 'n'))
if not owner then return 0 end
local total = SESSION_BYTES + redis.call('HSTRLEN', key, 'h')
for _, field in ipairs(redis.call('HKEYS', key)) do
  local kind = string.sub(field, 1, 2)
  if kind == 'i:' or kind == 'l:' then total = total + size(key, string.sub(field, 3)) end
end
count(owner, 0, total - before)
redis.call('HSET', key, 'n', string.format('%d', total))
return 1
"""
)

# Counts a tombstone that an older version of this program has left.
COUNT_TOMBSTONE = (
    _COMMON
    + """
local ends, owner = string.match(redis.call('GET', prefix .. 't:' .. ARGV[2]) or '', '^(%S+) (.*)$')
if owner and redis.call('ZADD', prefix .. 'x:' .. owner, ends, ARGV[2]) == 1 then
  redis.call('INCR', prefix .. 'x')
end
return 1
"""
)

DELETE = (
    _COMMON
    + """
local found = redis.call('GET', prefix .. 't:' .. ARGV[2])
if found then forget_tombstone(ARGV[2], string.match(found, '^%S+ (.*)$')) end
forget(ARGV[2])
"""
)

FORGET_TOMBSTONES = (
    _COMMON
    + """
forget_oldest(ARGV[2], tonumber(ARGV[3]))
"""
)

# A session under a lease has a writer, perhaps on another server, and does not expire.
EXPIRE = (
    _COMMON
    + """
local id, now = ARGV[2], tonumber(ARGV[3])
local ends = redis.call('ZSCORE', prefix .. 'due', id)
if not ends or tonumber(ends) > now or redis.call('EXISTS', prefix .. 'l:' .. id) == 1 then return 0 end
local owner = forget(id)
local left = prefix .. 'x:' .. owner
for _, old in ipairs(redis.call('ZRANGEBYSCORE', left, '-inf', ARGV[3], 'LIMIT', 0, 100)) do
  forget_tombstone(old, owner)
end
redis.call('SET', prefix .. 't:' .. id, ARGV[4] .. ' ' .. owner, 'EX', math.max(1, math.ceil(ARGV[4] - now)))
if redis.call('ZADD', left, ARGV[4], id) == 1 then redis.call('INCR', prefix .. 'x') end
forget_oldest(owner, redis.call('ZCARD', left) - MAX_TOMBSTONES)
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

# A lease that ran out is renewed unless another server has claimed the session since.
RENEW = """
local lease = ARGV[1] .. 'l:' .. ARGV[2]
local holder = redis.call('GET', lease) or redis.call('HGET', ARGV[1] .. 's:' .. ARGV[2], 'f')
if holder == ARGV[3] then redis.call('SET', lease, ARGV[3], 'PX', ARGV[4]) end
"""

# Only its own lease: after a lapse another server may hold it.
RELEASE = """
local lease = ARGV[1] .. 'l:' .. ARGV[2]
if redis.call('GET', lease) == ARGV[3] then redis.call('DEL', lease) end
"""

ASK_TO_END = """
local fence = redis.call('GET', ARGV[1] .. 'l:' .. ARGV[2])
if not fence then return 0 end
redis.call('SET', ARGV[1] .. 'q:' .. ARGV[2], fence, 'PX', ARGV[3])
return 1
"""

# 1: asked for, 2: lost, 0: neither. A word that was left for an earlier claim is no word for this one.
ASKED_TO_END = """
local word = ARGV[1] .. 'q:' .. ARGV[2]
if redis.call('HGET', ARGV[1] .. 's:' .. ARGV[2], 'f') ~= ARGV[3] then return 2 end
if redis.call('GET', word) ~= ARGV[3] then return 0 end
redis.call('DEL', word)
return 1
"""
