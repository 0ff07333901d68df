# Completion for bash: the commands and the long options that the tool's own help has, and files.
#
# Serves lamina and qemu-img; `make install` puts it where bash looks for it.

_lamina() {
  local tool=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} verb= index help
  for ((index = 1; index < COMP_CWORD; index++)); do
    if [[ ${COMP_WORDS[index]} != -* ]]; then
      verb=${COMP_WORDS[index]}
      break
    fi
  done
  if [[ -z $verb ]]; then
    help=$("$tool" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
    mapfile -t COMPREPLY < <(compgen -W "$help --help --version" -- "$word")
  elif [[ $word == -* ]]; then
    # qemu-img has one help for all commands, each in a line of its own.
    help=$("$tool" "$verb" --help 2>/dev/null | grep -E "^(usage: [^ ]+|) *$verb " |
      grep -oE -e '--[a-z][a-z-]*' | sort -u)
    mapfile -t COMPREPLY < <(compgen -W "$help --help" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -o filenames -F _lamina lamina qemu-img
