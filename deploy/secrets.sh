#!/bin/sh
# Random passwords for compose.yaml, one a line: sh deploy/secrets.sh > deploy/.env
umask 077
for name in POSTGRES LEDGER ORCHESTRA PREFECT S3; do
  echo "${name}_PASSWORD=$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')"
done
