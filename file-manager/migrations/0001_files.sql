-- Stored files. Ids are hyphenated lower-case UUIDs, so that their text sorts as their bytes do; times are microseconds
-- since the epoch, UTC.
CREATE TABLE files (
    file_id      TEXT   NOT NULL PRIMARY KEY,
    upload_id    TEXT   NOT NULL UNIQUE,
    owner_id     TEXT   NOT NULL,
    owner_name   TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    size         BIGINT NOT NULL,
    content_type TEXT,
    digest       TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    pool         TEXT,
    batch        TEXT,
    captured_at  BIGINT,
    received_at  BIGINT NOT NULL,
    stored_at    BIGINT NOT NULL,
    attempts     BIGINT NOT NULL,
    title        TEXT,
    description  TEXT
);

-- One index per way to list: a page is one stretch of it, whatever the number of files.
CREATE INDEX files_by_tenant ON files (tenant, received_at, file_id);
CREATE INDEX files_by_owner ON files (tenant, owner_id, received_at, file_id);
CREATE INDEX files_by_owner_status ON files (tenant, owner_id, status, received_at, file_id);
CREATE INDEX files_by_pool ON files (tenant, pool, received_at, file_id);

-- The tags of a file, each once, in the order of `position`. Tenant, owner and time repeat the file's, which never
-- change, so that a page of a tag is one stretch of an index too.
CREATE TABLE file_tags (
    file_id     TEXT   NOT NULL REFERENCES files (file_id) ON DELETE CASCADE,
    tag         TEXT   NOT NULL,
    position    BIGINT NOT NULL,
    tenant      TEXT   NOT NULL,
    owner_id    TEXT   NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (file_id, tag)
);

CREATE INDEX file_tags_by_tenant ON file_tags (tenant, tag, received_at, file_id);
CREATE INDEX file_tags_by_owner ON file_tags (tenant, owner_id, tag, received_at, file_id);
