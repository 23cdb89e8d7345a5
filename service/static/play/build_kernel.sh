#!/bin/sh
# Makes kernel.wasm of kernel.c, the same bytes each time: apt-get install clang-14 lld-14 (Debian 12).
set -eu
cd "$(dirname "$0")"
clang-14 --target=wasm32 -msimd128 -mbulk-memory -O3 -ffp-contract=off -ffreestanding -nostdlib -Wall -Wextra \
  -Wl,--no-entry,--import-memory,--strip-all -Wl,-z,stack-size=1024 -o "${1:-kernel.wasm}" kernel.c
