-- Begins to read a range. ARGV: its start and its end, the reader's name, milliseconds for which it may be trusted to go on.
-- Answers when the upload was made, which its blocks are named by.
local size, held, born = unpack(redis.call('HMGET', record, 'size', 'held', 'born'))
if not held then return {ABSENT} end
local start, stop = tonumber(ARGV[1]), tonumber(ARGV[2])
if stop > tonumber(held) then return {OUT_OF_ORDER, tonumber(held)} end
local there = verified(born, tonumber(size), stop, math.floor(start / BLOCK))
if there < stop then return {OUT_OF_ORDER, there} end
if stop > start then
  local readers = record .. ':' .. born .. ':readers'
  redis.call('ZADD', readers, digits(now() / 1000 + ARGV[4]), ARGV[3])
  redis.call('PEXPIRE', readers, ARGV[4])
end
return {DONE, tonumber(born)}
