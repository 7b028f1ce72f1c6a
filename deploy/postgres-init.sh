#!/bin/sh
# Run once by the image of PostgreSQL: a database and a role for the ledger and for Prefect each.
set -eu
psql --username=postgres --set=ON_ERROR_STOP=1 \
  --set=ledger="$LEDGER_PASSWORD" --set=orchestra="$ORCHESTRA_PASSWORD" <<'SQL'
CREATE ROLE hierdiff LOGIN PASSWORD :'ledger';
CREATE DATABASE hierdiff OWNER hierdiff;
CREATE ROLE prefect LOGIN PASSWORD :'orchestra';
CREATE DATABASE prefect OWNER prefect;
SQL
