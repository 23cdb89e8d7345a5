#!/bin/sh
# Trains the full faces preset on one GPU, measures it, and publishes it if it passes its gate.
#   benchmarks/gpu/faces.sh path/to/faces.zip [RUN] [train's options, e.g. --device cpu --set total_kimg=0.5]
# Stopped at any moment (SIGTERM saves first) and run again, it goes on: any number of short leases will do.
set -eu
cd "$(dirname "$0")/../.."
data=$1 run=${2:-runs/faces}
shift "$(($# < 2 ? $# : 2))"
ganmint=${GANMINT:-.venv/bin/ganmint}
$ganmint train --preset faces --data "$data" --out "$run" --device cuda "$@"
$ganmint publish "$run" --name faces --data "$data"
