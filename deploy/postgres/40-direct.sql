-- These are the role, the rights and the publication of nova itself, as `nova postgres setup` prints them; a test compares both. The
-- list of users has only the columns that nova keeps, so password_hash and email do not leave the server.
\getenv password NOVA_DB_PASSWORD
CREATE ROLE nova LOGIN REPLICATION PASSWORD :'password';
GRANT USAGE ON SCHEMA public TO nova;
GRANT SELECT (id, username, email_verified, is_active, created_at, updated_at, deleted_at) ON users TO nova;
GRANT SELECT ON posts TO nova;
GRANT SELECT ON follows TO nova;
GRANT SELECT ON comments TO nova;
GRANT SELECT ON likes TO nova;
CREATE PUBLICATION nova_direct FOR TABLE users (id, username, email_verified, is_active, created_at, updated_at, deleted_at), posts, follows, comments, likes;
