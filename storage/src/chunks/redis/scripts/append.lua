-- Adds bytes. ARGV: the generation, the offset, how many bytes, milliseconds until the upload expires, a name that nobody else
-- uses; then, for each block that they are in: its number, where in it they begin, and the bytes, or nothing if they are the
-- whole of the block and were put beside it under that name. Answers the bytes held.
local function beside(number) return record .. ':' .. ARGV[5] .. ':' .. number end
local function refuse(answer)
  for piece = 6, #ARGV, 3 do
    if ARGV[piece + 2] == '' then redis.call('UNLINK', beside(ARGV[piece])) end
  end
  return answer
end
local size, held, generation, sealed, born = unpack(redis.call('HMGET', record, 'size', 'held', 'generation', 'sealed', 'born'))
if not size then return refuse({ABSENT}) end
if sealed then return refuse({SEALED}) end
if generation ~= ARGV[1] then return refuse({SUPERSEDED}) end
size = tonumber(size)
local before, bytes = tonumber(held), tonumber(ARGV[3])
if held ~= ARGV[2] or bytes > size - before then return refuse({OUT_OF_ORDER, before}) end
if bytes == 0 then return {DONE, before} end
for piece = 6, #ARGV, 3 do
  local number, content = tonumber(ARGV[piece]), ARGV[piece + 2]
  if content == '' and redis.call('STRLEN', beside(ARGV[piece])) ~= length(size, number) then return refuse({MISSING}) end
end
-- The first write must be one that is refused when memory is full: after another one, nothing is. Moving what is beside comes
-- after a write that was taken.
for piece = 6, #ARGV, 3 do
  local number, at, content = tonumber(ARGV[piece]), tonumber(ARGV[piece + 1]), ARGV[piece + 2]
  local key, whole = block(born, number), length(size, number)
  if at > 0 then
    if redis.call('STRLEN', key) ~= whole then
      -- Only the first piece continues a block, so nothing was changed yet.
      local there = number * BLOCK
      redis.call('HSET', record, 'held', digits(there))
      return refuse({OUT_OF_ORDER, there})
    end
    redis.call('SETRANGE', key, at, content)
  else
    if content == '' then
      redis.call('RENAME', beside(ARGV[piece]), key)
    elseif #content == whole then
      redis.call('SET', key, content)
    else
      -- Made in its whole length at once: appending would have it grow, to twice of what is needed.
      redis.call('SETRANGE', key, whole - 1, '\0')
      redis.call('SETRANGE', key, 0, content)
    end
    redis.call('PEXPIRE', key, redis.call('PTTL', record) + MARGIN)
  end
end
local after = before + bytes
redis.call('HSET', record, 'held', digits(after), 'touched', digits(now()))
renew(born, after, tonumber(ARGV[4]))
return {DONE, after}
