-- Removes an upload. ARGV: milliseconds for which its blocks stay if someone is reading them.
local size, born = unpack(redis.call('HMGET', record, 'size', 'born'))
if not size then return {ABSENT} end
local readers = record .. ':' .. born .. ':readers'
redis.call('ZREMRANGEBYSCORE', readers, '-inf', digits(now() / 1000))
local is_read = redis.call('ZCARD', readers) > 0
for number = 0, blocks(tonumber(size)) - 1 do
  if is_read then
    redis.call('PEXPIRE', block(born, number), ARGV[1])
  else
    redis.call('UNLINK', block(born, number))
  end
end
redis.call('UNLINK', record)
return {DONE}
