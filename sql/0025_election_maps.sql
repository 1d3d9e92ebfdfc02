-- Maps of regions, which pages show beside the list. Each is small: `scrutin election map` made it so.

CREATE TABLE election_maps (
    contest_id text PRIMARY KEY,
    -- SHA-256 of the document, in hexadecimal.
    digest     text NOT NULL,
    -- JSON, compressed by gzip, as readers get it.
    document   bytea NOT NULL
);
