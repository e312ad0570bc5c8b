#!/bin/sh
# Run once by the Postgres image, on an empty volume: the server's own login.
# What it may do is granted by the migrations.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$RAPPORT_SERVER_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE rapport_server LOGIN PASSWORD :'password';
SQL
