#!/usr/bin/env bash
# Runs every ```sh block of the README, in order, from the root of the repository.
#
#     scripts/readme_commands.sh [--skip-tests]
#
# Runs go to runs/readme, which is removed first: the README's `runs/NAME` becomes `runs/readme/NAME` here, so that the
# runs of a user stay untouched. --skip-tests leaves `cargo test --workspace` out, for a caller that has just run it.
# Blocks of any other language (```text, ```csv) are not run: output, and commands that need data of the user.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip=''
case "${1:-}" in
'') ;;
--skip-tests) skip='cargo test --workspace' ;;
*)
    echo "usage: scripts/readme_commands.sh [--skip-tests]" >&2
    exit 2
    ;;
esac

rm -rf runs/readme
mkdir -p runs/readme
# The run of the README's first command, which names no folder.
export ROENTGEN_OUT=runs/readme/convirt-phantom

run_block() {
    local block=$1 before=$SECONDS
    if [ "$block" = "$skip" ]; then
        printf '\n--> skipped: %s\n' "$block"
        return
    fi
    bash -euxo pipefail -c "${block//runs\//runs/readme/}" </dev/null
    printf -- '--> %d s\n' "$((SECONDS - before))"
}

blocks=0
block=''
inside=no
while IFS= read -r line; do
    case "$inside:$line" in
    'no:```sh')
        inside=yes
        block=''
        ;;
    'yes:```')
        inside=no
        blocks=$((blocks + 1))
        run_block "$block"
        ;;
    yes:*) block+="${block:+$'\n'}$line" ;;
    esac
done <README.md

if [ "$inside" = yes ] || [ "$blocks" = 0 ]; then
    echo 'README.md has no complete sh block' >&2
    exit 1
fi
printf '\n%d blocks passed.\n' "$blocks"
