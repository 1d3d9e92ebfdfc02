#!/bin/sh
# The result of a contest as JSON, table and picture, in the folder where this is typed. Asks again
# only for what has changed.
#
#     GATEWAY=http://localhost:8000 CONTEST=L1 sh result.sh
set -eu
url="$GATEWAY/v2/contests/$CONTEST"

get() { curl --fail --silent --show-error --compressed "$@"; }

# 304 leaves the file as it is.
get --etag-compare result.tag --etag-save result.tag "$url" --output result.json
get "$url.csv" --output result.csv
get "$url.svg" --output result.svg
get --header 'Accept: text/csv' "$url/timeline" --output timeline.csv
get "$url/feed" --output feed.xml
