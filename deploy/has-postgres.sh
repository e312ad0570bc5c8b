#!/bin/sh
# Succeeds if rapport will find Postgres's server programs; else says how to
# get them, in one line. It looks where store/embedpg looks.
for dir in ${RAPPORT_POSTGRES_BIN:-"$(pg_config --bindir 2>/dev/null)" $(echo "$PATH" | tr ':' ' ') \
    /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin}; do
  [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && exit 0
done
echo "Postgres's server programs (initdb, postgres) are missing: apt-get install postgresql (or set RAPPORT_POSTGRES_BIN)" >&2
exit 1
