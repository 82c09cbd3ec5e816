-- Applied at every start of the container, so every statement may find its work done.
DO $$ BEGIN CREATE ROLE "www-data" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE IF NOT EXISTS visits (at timestamptz NOT NULL DEFAULT now());
GRANT SELECT, INSERT ON visits TO "www-data";
