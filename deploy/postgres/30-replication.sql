-- Debezium's own role: it may replicate, and it shares the ownership of the tables, because publication.autocreate.mode
-- filtered creates and alters the publication, which takes the owner. docs/connector.md has the way without ownership.
\getenv password DEBEZIUM_PASSWORD
CREATE ROLE nova_tables NOLOGIN;
CREATE ROLE debezium LOGIN REPLICATION PASSWORD :'password' IN ROLE nova_tables;
ALTER TABLE users OWNER TO nova_tables;
ALTER TABLE posts OWNER TO nova_tables;
ALTER TABLE follows OWNER TO nova_tables;
ALTER TABLE comments OWNER TO nova_tables;
ALTER TABLE likes OWNER TO nova_tables;
-- A publication belongs to a database.
SELECT format('GRANT CREATE ON DATABASE %I TO nova_tables', current_database()) \gexec
GRANT USAGE ON SCHEMA public TO nova_tables;
