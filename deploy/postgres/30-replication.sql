-- This is Debezium's own role. The role may replicate, and shares the ownership of the tables, because publication.autocreate.mode
-- filtered creates and alters the publication, and only an owner of tables may create or alter a publication of them. docs/connector.md describes a role without ownership.
\getenv password DEBEZIUM_PASSWORD
CREATE ROLE nova_tables NOLOGIN;
CREATE ROLE debezium LOGIN REPLICATION PASSWORD :'password' IN ROLE nova_tables;
ALTER TABLE users OWNER TO nova_tables;
ALTER TABLE posts OWNER TO nova_tables;
ALTER TABLE follows OWNER TO nova_tables;
ALTER TABLE comments OWNER TO nova_tables;
ALTER TABLE likes OWNER TO nova_tables;
-- A publication belongs to a database, so Debezium's role needs the right to create objects in the database.
SELECT format('GRANT CREATE ON DATABASE %I TO nova_tables', current_database()) \gexec
GRANT USAGE ON SCHEMA public TO nova_tables;
