#!/bin/sh
# Run once by the Postgres image, on an empty volume: the logins of the server, of its
# SQL and of those who read, and Metabase's own database. What they may do is granted
# by the migrations.
set -eu
psql -v ON_ERROR_STOP=1 -v server="$RAPPORT_SERVER_PASSWORD" -v reader="$RAPPORT_READER_PASSWORD" -v sql="$RAPPORT_SQL_PASSWORD" \
  -v metabase="${METABASE_DB_PASSWORD:-}" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE rapport_server LOGIN PASSWORD :'server';

CREATE ROLE rapport_reader NOLOGIN;
CREATE ROLE rapport_grafana LOGIN PASSWORD :'reader' IN ROLE rapport_reader;
ALTER ROLE rapport_grafana SET search_path = analytics;

CREATE ROLE rapport_sql LOGIN PASSWORD :'sql';
ALTER ROLE rapport_sql SET default_transaction_read_only = on;
ALTER ROLE rapport_sql SET search_path = pg_catalog, analytics, pg_temp;
ALTER ROLE rapport_sql SET temp_file_limit = '1GB';
ALTER ROLE rapport_sql SET log_min_error_statement = panic;
ALTER ROLE rapport_sql SET log_min_messages = fatal;

SELECT :'metabase' <> '' AS has_metabase \gset
\if :has_metabase
CREATE ROLE metabase LOGIN PASSWORD :'metabase';
CREATE DATABASE metabase OWNER metabase;
REVOKE CONNECT, TEMPORARY ON DATABASE metabase FROM PUBLIC;
\endif

-- Nobody but they has any business here.
REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO rapport_server, rapport_reader, rapport_sql;
SQL
