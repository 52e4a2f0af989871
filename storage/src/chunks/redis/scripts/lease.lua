-- A reader goes on, or is done. ARGV: when the upload was made, the reader's name, milliseconds for which it may be trusted to
-- go on (0 when it is done), the first and the last block that it has yet to read.
local born, keep = ARGV[1], tonumber(ARGV[3])
local readers = record .. ':' .. born .. ':readers'
if keep == 0 then
  redis.call('ZREM', readers, ARGV[2])
  return {DONE}
end
redis.call('ZADD', readers, digits(now() / 1000 + keep), ARGV[2])
redis.call('PEXPIRE', readers, keep)
if redis.call('HGET', record, 'born') ~= born then
  -- Removed meanwhile: what is left waits for its readers.
  for number = tonumber(ARGV[4]), tonumber(ARGV[5]) do redis.call('PEXPIRE', block(born, number), keep) end
end
return {DONE}
