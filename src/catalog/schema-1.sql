CREATE TABLE object (
    source TEXT NOT NULL,
    destination TEXT NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    content_type TEXT,
    media_type TEXT,
    modified TEXT,
    md5 TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    metadata TEXT NOT NULL,
    width BIGINT,
    height BIGINT,
    seconds DOUBLE PRECISION,
    taken TEXT,
    camera TEXT,
    latitude DOUBLE PRECISION,
    longitude DOUBLE PRECISION,
    facts TEXT NOT NULL,
    verified TEXT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (source, destination, key)
);
CREATE INDEX object_media_type ON object (media_type);
CREATE INDEX object_sha256 ON object (sha256)
