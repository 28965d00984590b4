# fish completion for deployd: the command itself completes its commands, options and apps.

set -l ask "env _DEPLOYD_COMPLETE=complete_fish _TYPER_COMPLETE_ARGS=(commandline -cp) _TYPER_COMPLETE_FISH_ACTION="
complete --command deployd --no-files --arguments "($ask"get-args" deployd 2>/dev/null)" \
    --condition "$ask"is-args" deployd 2>/dev/null"
