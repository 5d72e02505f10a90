-- When an administrator forgot the certificate: its name is new again, its serial is taken for ever.
-- A row whose der is empty is known from another CA's inventory only.
ALTER TABLE certificates ADD COLUMN cleaned_at INTEGER;

-- A revocation list is made from the index alone, without a look at the rows and their certificates.
DROP INDEX certificates_revoked;
CREATE INDEX certificates_revoked ON certificates (not_after, serial, revoked_at, revocation_reason)
    WHERE revoked_at IS NOT NULL;

-- Current certificates by name, one index for each state, so that a page of either costs a page.
CREATE INDEX certificates_current_signed ON certificates (certname)
    WHERE revoked_at IS NULL AND superseded_by IS NULL AND cleaned_at IS NULL AND length(der) > 0;
CREATE INDEX certificates_current_revoked ON certificates (certname)
    WHERE revoked_at IS NOT NULL AND superseded_by IS NULL AND cleaned_at IS NULL AND length(der) > 0;

-- By end of life: what is counted, what ends soon, what can be forgotten.
CREATE INDEX certificates_ending ON certificates (not_after, revoked_at, superseded_by, length(der), cleaned_at)
    WHERE cleaned_at IS NULL;

-- Keys that were given up.
CREATE INDEX certificates_revoked_key ON certificates (key_digest) WHERE revoked_at IS NOT NULL;

-- Revoked serials that the inventory does not have. Nobody knows when they expire: they stay.
CREATE TABLE revoked_serials (
    serial     TEXT    NOT NULL PRIMARY KEY,
    revoked_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL
);

-- Catalog masters: the alternative names each may have, and the revocation list it last enforced.
CREATE TABLE masters (
    certname   TEXT    NOT NULL PRIMARY KEY,
    alt_names  TEXT    NOT NULL,
    added_at   INTEGER NOT NULL,
    crl_number INTEGER,
    seen_at    INTEGER,
    address    TEXT
);
