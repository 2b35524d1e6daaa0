#!/bin/sh
# Runs the main job on the example: a small crate whose build is broken, and one of whose tests fails for the same
# reason. Everything happens in a temporary folder; nothing is left but that folder's repository.
set -eu
cd "$(dirname "$0")/.."

program="$PWD/target/release/journeyman"
folder="$(mktemp -d "${TMPDIR:-/tmp}/journeyman-try.XXXXXX")"
repository="$folder/columns"
export JOURNEYMAN_DATA="$folder/data" JOURNEYMAN_CONFIG="$folder/config"
# The example shall not depend on what is configured on this machine.
unset DATABASE_URL GIT_DIR GIT_WORK_TREE 2>/dev/null || true

cp -r examples/broken-crate "$repository"
rm -rf "$repository/target"
git -C "$repository" init -q -b main
git -C "$repository" add -A
git -C "$repository" -c user.name=You -c user.email=you@localhost commit -qm "Rename the width function, forget its callers"

echo "A repository whose build is broken: $repository"
echo "$ journeyman run --repo columns \"Make the build and the tests pass again\""
echo
"$program" run --repo "$repository" "Make the build and the tests pass again"
echo
echo "Nothing of yours was touched; the change is on a branch of the repository:"
git -C "$repository" branch --list --format '  %(refname:short)  %(subject)'
cat <<END

That was the driver 'mechanic': no model, no key. It mends what compilers and linters know how to mend.
To let a program of yours work, a coding agent for example:
  $program run --repo PATH --command 'my-agent {prompt}' "what to do"
To let a model work (any of OpenAI's or Anthropic's wire formats, also a local server):
  export ANTHROPIC_API_KEY=...
  $program run --repo PATH --model anthropic/claude-sonnet-5-5 --budget 1 "what to do"
The example is in $folder; remove it when you like.
END
