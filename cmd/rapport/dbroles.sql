-- The roles of Rapport and its database, for an administrator of the cluster: CREATEROLE and CREATEDB
-- suffice. The passwords are read from the environment of psql; where it is another client, replace
-- :'owner_password' and the like by the passwords in quotes, and \connect by a connection to rapport.
-- Then: RAPPORT_OWNER_DATABASE_URL=postgres://rapport_owner:...@host/rapport rapport migrate
\set ON_ERROR_STOP on
\set owner_password `printf %s "$OWNER_PASSWORD"`
\set server_password `printf %s "$SERVER_PASSWORD"`
\set reader_password `printf %s "$READER_PASSWORD"`
\set sql_password `printf %s "$SQL_PASSWORD"`
SELECT '' IN (:'owner_password', :'server_password', :'reader_password') AS is_missing \gset
\if :is_missing
DO $$ BEGIN RAISE EXCEPTION 'set OWNER_PASSWORD, SERVER_PASSWORD and READER_PASSWORD in the environment of psql'; END $$;
\endif

-- The owner of the schema, for migrations alone (RAPPORT_OWNER_DATABASE_URL).
CREATE ROLE rapport_owner LOGIN PASSWORD :'owner_password';

-- The server (RAPPORT_DATABASE_URL): appends and reads, and can't change an event. It
-- inherits nothing, so that it erases only where it takes rapport_eraser on.
CREATE ROLE rapport_server LOGIN NOINHERIT PASSWORD :'server_password';

-- Who sees the views of the schema analytics, and nothing else.
CREATE ROLE rapport_reader NOLOGIN;

-- Who may erase what people said.
CREATE ROLE rapport_eraser NOLOGIN;

GRANT rapport_reader TO rapport_owner, rapport_server; -- for `rapport db url`
GRANT rapport_eraser TO rapport_server;

-- A login for Grafana and the like, one for each who reads.
CREATE ROLE rapport_grafana LOGIN PASSWORD :'reader_password' IN ROLE rapport_reader;
ALTER ROLE rapport_grafana SET search_path = analytics;

-- Runs the statements of POST /sql and `rapport sql` (RAPPORT_SQL_DATABASE_URL): a member of nothing. Without
-- SQL_PASSWORD it can't log in, and no statement is run, until ALTER ROLE rapport_sql LOGIN PASSWORD '...'.
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_sql') AS is_missing, :'sql_password' <> '' AS has_password \gset
\if :is_missing
CREATE ROLE rapport_sql NOLOGIN;
ALTER ROLE rapport_sql SET default_transaction_read_only = on;
ALTER ROLE rapport_sql SET search_path = pg_catalog, analytics, pg_temp;
\if :has_password
ALTER ROLE rapport_sql LOGIN PASSWORD :'sql_password';
\endif
\endif

-- Whoever makes a database for another role must be a member of it meanwhile.
GRANT rapport_owner TO CURRENT_USER;
CREATE DATABASE rapport OWNER rapport_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE rapport FROM PUBLIC;
GRANT CONNECT ON DATABASE rapport TO rapport_server, rapport_reader, rapport_sql;
REVOKE rapport_owner FROM CURRENT_USER;

-- Where you are a superuser, bound what a statement may write to the disk, and keep statements out of the log:
--   ALTER ROLE rapport_sql SET temp_file_limit = '1GB';
--   ALTER ROLE rapport_sql SET log_min_error_statement = panic;
--   ALTER ROLE rapport_sql SET log_min_messages = fatal;

-- On Postgres 14 every role may create objects in the schema public, and only the
-- cluster's superuser can take that back: REVOKE CREATE ON SCHEMA public FROM PUBLIC, in the
-- database rapport. From 15 on nobody but the owner may.
