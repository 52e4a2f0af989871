-- Times are microseconds since the epoch, UTC; ids are hyphenated UUIDs.

CREATE TABLE uploads (
    upload_id       TEXT   NOT NULL PRIMARY KEY,
    file_id         TEXT   NOT NULL UNIQUE,
    owner_id        TEXT   NOT NULL,
    owner_name      TEXT   NOT NULL,
    tenant          TEXT   NOT NULL,
    upload_key      TEXT,
    name            TEXT   NOT NULL,
    size            BIGINT NOT NULL,
    content_type    TEXT,
    digest          TEXT,
    pool            TEXT,
    captured_at     BIGINT,
    batch           TEXT,
    title           TEXT,
    description     TEXT,
    tags            TEXT   NOT NULL,
    computed_digest TEXT,
    status          TEXT   NOT NULL,
    attempts        BIGINT NOT NULL,
    reason          TEXT,
    code            TEXT,
    opened_at       BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    received_at     BIGINT,
    ended_at        BIGINT
);

CREATE UNIQUE INDEX uploads_key ON uploads (owner_id, upload_key) WHERE upload_key IS NOT NULL;
CREATE INDEX uploads_open ON uploads (expires_at) WHERE status = 'open';
CREATE INDEX uploads_ended ON uploads (ended_at) WHERE ended_at IS NOT NULL AND status <> 'upload_failed';

-- The files that only this service knows of; those stored well are in the file manager's index.
CREATE INDEX uploads_listed_by_owner ON uploads (owner_id, received_at DESC, file_id DESC)
    WHERE status IN ('cached', 'storing', 'retrying', 'upload_failed');
CREATE INDEX uploads_listed_by_tenant ON uploads (tenant, received_at DESC, file_id DESC)
    WHERE status IN ('cached', 'storing', 'retrying', 'upload_failed');

-- Bytes of each owner's uploads that are under way or stored.
CREATE TABLE owner_bytes (
    owner_id TEXT   NOT NULL PRIMARY KEY,
    bytes    BIGINT NOT NULL
);

-- Attempts to store a file that are not resolved.
CREATE TABLE outbox (
    upload_id     TEXT   NOT NULL PRIMARY KEY,
    attempt       BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    dispatched_at BIGINT,
    -- 1 once the queue has confirmed that it holds the attempt dispatched then.
    queued        BIGINT NOT NULL
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE dispatched_at IS NULL;
CREATE INDEX outbox_dispatched ON outbox (dispatched_at) WHERE dispatched_at IS NOT NULL;

-- Every topic's log: notifications `oldest` to `head`, without holes.
CREATE TABLE topics (
    log_name TEXT   NOT NULL PRIMARY KEY,
    epoch    TEXT   NOT NULL,
    head     BIGINT NOT NULL,
    oldest   BIGINT NOT NULL
);

CREATE TABLE notifications (
    log_name TEXT   NOT NULL,
    number   BIGINT NOT NULL,
    event    TEXT   NOT NULL,
    time     BIGINT NOT NULL,
    data     TEXT   NOT NULL,
    PRIMARY KEY (log_name, number)
);

CREATE INDEX notifications_time ON notifications (time);
