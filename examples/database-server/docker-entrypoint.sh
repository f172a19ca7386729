#!/bin/sh
set -eu
if [ "$1" = keepd ] && [ ! -e "$KEEPDATA/values" ]; then
	docker-ensure-initdb.sh
fi
exec "$@"
