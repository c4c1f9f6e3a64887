ALTER TABLE object ADD COLUMN md5_if_taken TEXT;
UPDATE object SET md5_if_taken = md5;
ALTER TABLE object DROP COLUMN md5;
ALTER TABLE object RENAME COLUMN md5_if_taken TO md5
