#!/bin/sh
# Run by the Postgres image on an empty volume: the logins of the server, of its SQL
# and of those who read, and Metabase's own database. What they may do is granted by
# the migrations. On a volume that has data, run it again after a new password, or for
# what it has not made yet:
#   docker compose exec postgres sh /docker-entrypoint-initdb.d/10-roles.sh
set -eu
psql -q -v ON_ERROR_STOP=1 -v server="$RAPPORT_SERVER_PASSWORD" -v reader="$RAPPORT_READER_PASSWORD" -v sql="$RAPPORT_SQL_PASSWORD" \
  -v metabase="${METABASE_DB_PASSWORD:-}" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
SELECT format('CREATE ROLE %I', wanted.name)
FROM (VALUES ('rapport_server'), ('rapport_reader'), ('rapport_grafana'), ('rapport_sql')) wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted.name) \gexec

ALTER ROLE rapport_server LOGIN PASSWORD :'server';

GRANT rapport_reader TO rapport_grafana;
ALTER ROLE rapport_grafana LOGIN PASSWORD :'reader';
ALTER ROLE rapport_grafana SET search_path = analytics;

ALTER ROLE rapport_sql LOGIN PASSWORD :'sql';
ALTER ROLE rapport_sql SET default_transaction_read_only = on;
ALTER ROLE rapport_sql SET search_path = pg_catalog, analytics, pg_temp;
ALTER ROLE rapport_sql SET temp_file_limit = '1GB';
ALTER ROLE rapport_sql SET log_min_error_statement = panic;
ALTER ROLE rapport_sql SET log_min_messages = fatal;

SELECT :'metabase' <> '' AS has_metabase \gset
\if :has_metabase
SELECT 'CREATE ROLE metabase' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'metabase') \gexec
ALTER ROLE metabase LOGIN PASSWORD :'metabase';
SELECT 'CREATE DATABASE metabase OWNER metabase' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'metabase') \gexec
REVOKE CONNECT, TEMPORARY ON DATABASE metabase FROM PUBLIC;
\endif

-- Nobody but they has any business here.
REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO rapport_server, rapport_reader, rapport_sql;
SQL
