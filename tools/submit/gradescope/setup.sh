#!/usr/bin/env bash
# Gradescope runs this once when it makes the autograder's image: what the checker needs, from the distribution.
# The zip file to upload holds this project whole, with this file and run_autograder copied to its top.
set -eu
source=${AUTOGRADER:-/autograder}/source
export DEBIAN_FRONTEND=noninteractive
apt-get update
sed -n 's/^[a-z]*: \([^ |]*\).*/\1/p' "$source/packages.txt" | sort -u | xargs apt-get install -y --no-install-recommends
make -C "$source" build/mkfs/mkfs
