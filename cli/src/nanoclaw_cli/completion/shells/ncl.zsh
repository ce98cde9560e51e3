#compdef ncl
# Completion of ncl in zsh: its local commands and the verbs of the running host.
_ncl() {
    local line
    local -a inserted shown
    for line in "${(@f)$("${words[1]/#\~/$HOME}" complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        if [[ $line == :paths ]]; then
            _files
        elif [[ -n $line ]]; then
            inserted+=("${line%%$'\t'*}")
            shown+=("${${line/$'\t'/  }[1,COLUMNS-1]}")
        fi
    done
    (( $#inserted )) && compadd -l -d shown -a inserted
}
if [[ $funcstack[1] == _ncl ]]; then # zsh autoloaded it from a file of that name
    _ncl "$@"
else
    compdef _ncl ncl
fi
