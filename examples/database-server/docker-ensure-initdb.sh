#!/bin/sh
set -eu
for file in /docker-entrypoint-initdb.d/*; do
	[ -f "$file" ] && keepd <"$file"
done
exit 0
