-- Every file here is stored: that its status is part of an index helps nobody.
DROP INDEX files_by_owner_status;

-- Few files are of a pool, and the others need no place in what lists pools.
DROP INDEX files_by_pool;
CREATE INDEX files_by_pool ON files (tenant, pool, received_at, file_id) WHERE pool IS NOT NULL;
CREATE INDEX files_by_owner_pool ON files (tenant, owner_id, pool, received_at, file_id) WHERE pool IS NOT NULL;

-- As the tenant, the owner and the time: the file's.
ALTER TABLE file_tags ADD COLUMN pool TEXT;
UPDATE file_tags SET pool = files.pool FROM files WHERE files.file_id = file_tags.file_id AND files.pool IS NOT NULL;
CREATE INDEX file_tags_by_pool ON file_tags (tenant, pool, tag, received_at, file_id) WHERE pool IS NOT NULL;
CREATE INDEX file_tags_by_owner_pool ON file_tags (tenant, owner_id, pool, tag, received_at, file_id) WHERE pool IS NOT NULL;
