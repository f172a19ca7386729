#!/bin/sh
set -e
if [ $# -eq 0 ]; then
	while read -r name; do
		set -- "$@" "$name"
	done </work/names
fi
exec salute "$@"
