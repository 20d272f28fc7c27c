# --help and --version of the shell scripts among the tools, in the shape of tools/commandline.py. To be sourced with the
# script's arguments: the help is the comment the script opens with, its usage line first.
case "${1:-}" in
-h | --help)
  about=$(sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0")
  printf '%s\n\n%s\n' "$(grep '^usage:' <<<"$about")" "$(grep -v '^usage:' <<<"$about")"
  exit 0
  ;;
--version)
  version=$(sed -n 's/.*VERSION "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../kernel/version.h")
  echo "$(basename "$0") (xv6-glass) $version"
  exit 0
  ;;
esac
