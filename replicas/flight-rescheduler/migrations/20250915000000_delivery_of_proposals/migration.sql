-- What became of each proposal, so that a second delivery of its message changes nothing.
ALTER TABLE proposals ADD COLUMN mailed_at timestamptz;
ALTER TABLE proposals ADD COLUMN published_at timestamptz;
