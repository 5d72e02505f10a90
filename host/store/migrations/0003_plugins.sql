-- Sets of plugins that were staged: what each was made from, with components named by digest, and where
-- these came from. The live one is named by `meta`, together with those before it.
CREATE TABLE plugin_sets (
    id      TEXT    NOT NULL PRIMARY KEY,
    spec    TEXT    NOT NULL,
    written TEXT    NOT NULL,
    made_at INTEGER NOT NULL,
    made_by TEXT    NOT NULL,
    source  TEXT    NOT NULL
);

-- What happened to sets, in order.
CREATE TABLE plugin_events (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    event   TEXT    NOT NULL,
    set_id  TEXT,
    made_by TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    reason  TEXT    NOT NULL
);
