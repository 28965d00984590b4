# bash completion for deployd: the command itself completes its commands, options and apps.

_deployd_completion() {
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(
        COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _DEPLOYD_COMPLETE=complete_bash "$1" 2>/dev/null
    )
}

complete -o default -F _deployd_completion deployd
