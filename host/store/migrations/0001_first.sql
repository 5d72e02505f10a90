-- Times are seconds since 1970. Serials are upper hex, digests lower hex.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The inventory. `id` is the order of issue, which no clock change can turn round.
CREATE TABLE certificates (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    serial            TEXT    NOT NULL UNIQUE,
    certname          TEXT    NOT NULL,
    der               BLOB    NOT NULL,
    key_digest        TEXT    NOT NULL,
    not_before        INTEGER NOT NULL,
    not_after         INTEGER NOT NULL,
    issued_at         INTEGER NOT NULL,
    revoked_at        INTEGER,
    revocation_reason TEXT,
    superseded_by     TEXT
);
CREATE INDEX certificates_of_name ON certificates (certname, id);
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

CREATE TABLE crls (
    number      INTEGER NOT NULL PRIMARY KEY,
    pem         TEXT    NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL
);

-- One row per name and key: several candidates of one name wait side by side.
CREATE TABLE requests (
    certname         TEXT    NOT NULL,
    key_digest       TEXT    NOT NULL,
    pem              TEXT    NOT NULL,
    fingerprint      TEXT    NOT NULL,
    submitted_at     INTEGER NOT NULL,
    peer             TEXT,
    verdict          TEXT,
    reason           TEXT,
    plugin           TEXT,
    plugin_digest    TEXT,
    plugin_set       TEXT,
    registry_version TEXT,
    decided_at       INTEGER,
    PRIMARY KEY (certname, key_digest)
);
CREATE INDEX requests_by_age ON requests (submitted_at);

CREATE TABLE nodes (
    certname              TEXT    NOT NULL PRIMARY KEY,
    environment           TEXT,
    facts                 TEXT,
    facts_digest          TEXT,
    facts_at              INTEGER,
    -- The last good one, which serves while the registry is down.
    classification        TEXT,
    classification_digest TEXT,
    classified_at         INTEGER,
    exports_digest        TEXT,
    seen_at               INTEGER NOT NULL
);

-- The key is the order in which a collector reads; environment, tags and parameters are filters and freight.
CREATE TABLE exports (
    resource_type TEXT NOT NULL,
    title         TEXT NOT NULL,
    certname      TEXT NOT NULL REFERENCES nodes (certname) ON DELETE CASCADE,
    environment   TEXT NOT NULL,
    tags          TEXT NOT NULL,
    parameters    TEXT NOT NULL,
    PRIMARY KEY (resource_type, title, certname)
);
CREATE INDEX exports_of_node ON exports (certname);

CREATE TABLE reports (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    certname    TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    body        BLOB    NOT NULL
);
CREATE INDEX reports_of_node ON reports (certname, id);
CREATE INDEX reports_by_age ON reports (received_at);
