-- Plain columns hold names, digests, words and reasons; everything else is in sealed blobs.

-- `seq` is the order of writing. `at` is in nanoseconds since 1970, `took` in microseconds.
-- kind: 1 approval, 2 classification, 3 provision. mode: 1 live, 2 shadow.
-- costs: [[microseconds, bytes of memory], ...], one for each plugin asked.
-- input, grounds and answer are numbers of blobs.
CREATE TABLE records (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    at         INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    mode       INTEGER NOT NULL,
    certname   TEXT    NOT NULL,
    occasion   TEXT,
    peer       TEXT,
    plugin_set TEXT    NOT NULL,
    verdict    TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    decided_by TEXT,
    took       INTEGER NOT NULL,
    costs      TEXT    NOT NULL,
    input      INTEGER NOT NULL,
    grounds    INTEGER NOT NULL,
    answer     INTEGER
);
CREATE INDEX records_of_name ON records (certname, seq);
CREATE INDEX records_in_time ON records (kind, at);

-- address: HMAC of the content. sealed_by: which key. through: no record after this `seq` needs it.
CREATE TABLE blobs (
    number    INTEGER PRIMARY KEY,
    address   BLOB    NOT NULL UNIQUE,
    sealed_by BLOB    NOT NULL,
    through   INTEGER NOT NULL
);
CREATE INDEX blobs_through ON blobs (through);

-- Apart from `blobs`, so that moving `through` on does not rewrite them.
CREATE TABLE bodies (
    number INTEGER PRIMARY KEY,
    body   BLOB    NOT NULL
);
