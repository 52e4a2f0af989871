-- Accounts, what their roles may do, their logins, and the keys that sign their tokens.
-- Portable between SQLite and PostgreSQL. Ids are hyphenated UUIDs, times are microseconds since the epoch in UTC.

CREATE TABLE tenants (
    id         TEXT   NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);

CREATE TABLE roles (
    name TEXT NOT NULL PRIMARY KEY
);

CREATE TABLE permissions (
    name    TEXT NOT NULL PRIMARY KEY,
    meaning TEXT NOT NULL
);

CREATE TABLE role_permissions (
    role       TEXT NOT NULL REFERENCES roles (name),
    permission TEXT NOT NULL REFERENCES permissions (name),
    PRIMARY KEY (role, permission)
);

-- `name_key` is the name in lower case: two names that differ only in case are one.
-- A token is good only if it carries the current `token_generation` of its user.
CREATE TABLE users (
    id               TEXT   NOT NULL PRIMARY KEY,
    name             TEXT   NOT NULL,
    name_key         TEXT   NOT NULL UNIQUE,
    password_hash    TEXT   NOT NULL,
    role             TEXT   NOT NULL REFERENCES roles (name),
    tenant           TEXT   NOT NULL REFERENCES tenants (id),
    token_generation BIGINT NOT NULL,
    created_at       BIGINT NOT NULL
);

-- A login and the family of refresh tokens that it gave. A refresh token is the family's secret followed by its own;
-- only hashes of both are kept. Whoever knows the family but holds neither the current nor (for a moment) the previous
-- token holds one that was used before: the reuse that ends the login. So one row recognises every token of a family.
CREATE TABLE sessions (
    id            TEXT   NOT NULL PRIMARY KEY,
    user_id       TEXT   NOT NULL REFERENCES users (id),
    family_hash   TEXT   NOT NULL UNIQUE,
    current_hash  TEXT   NOT NULL,
    previous_hash TEXT,
    created_at    BIGINT NOT NULL,
    rotated_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_id, rotated_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- PKCS#8 in base64. The newest key signs; a retired one stays published while a token signed with it may live.
CREATE TABLE signing_keys (
    kid        TEXT   NOT NULL PRIMARY KEY,
    pkcs8      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

-- What gateways have to learn of. Numbers are dense and never used again, also not after old rows are swept:
-- the last one is kept apart, and taking the next one is what puts concurrent logouts in order.
CREATE TABLE revocations (
    seq        BIGINT NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id),
    generation BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE INDEX revocations_by_time ON revocations (revoked_at);

CREATE TABLE revocation_head (
    id  INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT  NOT NULL
);

INSERT INTO revocation_head (id, seq) VALUES (1, 0);

INSERT INTO tenants (id, created_at) VALUES ('default', 0);

INSERT INTO roles (name) VALUES ('admin'), ('user');

INSERT INTO permissions (name, meaning) VALUES
    ('files:read:own',        'list and download the files that one owns'),
    ('files:read:all',        'list and download every file of the tenant'),
    ('uploads:write',         'upload files'),
    ('uploads:read:own',      'see the uploads that one started'),
    ('uploads:read:all',      'see every upload of the tenant'),
    ('notifications:own',     'hear what becomes of the files that one uploads'),
    ('notifications:admin',   'subscribe to the topic `admin` of the tenant'),
    ('sessions:end:own',      'log oneself out'),
    ('sessions:end:all',      'log out every user of the tenant'),
    ('users:read:own',        'see the own account'),
    ('users:read:all',        'look up every user of the tenant');

INSERT INTO role_permissions (role, permission) VALUES
    ('user', 'files:read:own'),
    ('user', 'uploads:write'),
    ('user', 'uploads:read:own'),
    ('user', 'notifications:own'),
    ('user', 'sessions:end:own'),
    ('user', 'users:read:own');

INSERT INTO role_permissions (role, permission)
    SELECT 'admin', name FROM permissions;
