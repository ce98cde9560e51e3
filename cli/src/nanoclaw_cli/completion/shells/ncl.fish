# Completion of ncl in fish: its local commands and the verbs of the running host.
function __ncl_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l ncl (string replace -r '^~' $HOME -- $before[1])
    for line in ($ncl complete -- $before[2..-1] "$current" 2>/dev/null)
        if test "$line" = :paths
            __fish_complete_path "$current"
        else
            printf '%s\n' $line
        end
    end
end
complete -c ncl -f -a '(__ncl_complete)'
