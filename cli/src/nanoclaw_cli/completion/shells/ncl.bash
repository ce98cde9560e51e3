# Completion of ncl in bash: its local commands and the verbs of the running host.
_ncl() {
    local -a typed=()
    local word text previous=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do # readline splits words at = and :, ncl does not
        if [[ ${#typed[@]} -gt 0 && ($word == [=:]* || $previous == *[=:]) ]]; then
            typed[${#typed[@]} - 1]+=$word
        else
            typed+=("$word")
        fi
        previous=$word
    done
    local whole=${typed[${#typed[@]} - 1]} current=${COMP_WORDS[COMP_CWORD]}
    [[ $current == [=:] ]] && current=
    COMPREPLY=()
    while IFS=$'\t' read -r word text; do
        if [[ $word == :paths ]]; then
            compopt -o default 2>/dev/null
        else
            COMPREPLY+=("${word:${#whole} - ${#current}}")
        fi
    done < <("${COMP_WORDS[0]/#\~/$HOME}" complete -- "${typed[@]}" 2>/dev/null)
}
complete -F _ncl ncl
