#compdef tinysup
# zsh completion for tinysup: source <(tinysup completions zsh)
_tinysup_names() {
    local -aU names
    names=(${${(f)"$(tinysup status 2>/dev/null)"}[2,-2]%% *})
    names+=(${names%.*})
    compadd -a names
}
_tinysup() {
    local -a verbs
    verbs=(
        'status:everything at a glance; exit code 3 if something is not as it should be'
        'ls:everything at a glance; exit code 3 if something is not as it should be'
        'ps:everything at a glance; exit code 3 if something is not as it should be'
        'describe:everything about a service'
        'show:everything about a service'
        'logs:the last output, also of what has ended, with its ends in between'
        'memory:who holds how much memory, and the container'
        'mem:who holds how much memory, and the container'
        'top:the status once a second, on the whole screen, with keys to act'
        'monit:the status once a second, on the whole screen, with keys to act'
        'start:start what is down, with a fresh restart budget'
        'stop:stop it until it is started again'
        'restart:stop it and start it again, with a fresh restart budget'
        'signal:send a signal to a service'
        'health:exit code 0 or 1, and why in a line - for HEALTHCHECK and exec probes'
        'wait:wait until it is ready, completed, stopped or live; 30 s if not told otherwise'
        'events:what has happened, numbered'
        'update:read the configuration again, and restart only what has changed; a broken one changes nothing'
        'reopen:close the files of output and open them again, for those who move them'
        'shutdown:stop everything in order, and end the container'
        'completions:print the completions for a shell'
        'run:run the services, and perhaps a command beside them'
        'check:check a configuration'
        'pause:be an init of nothing'
        'example:print a commented configuration'
        'version:print the version'
        'help:print how it is used'
    )
    local at=2 commands=1 verb
    local -a first=($verbs)
    while (( at < CURRENT )); do
        case $words[at] in
        --) break ;;
        -c|--config) first=(${(M)first:#(run|check):*}); (( at += 2 )) ;;
        -v|--verbose) first=(${(M)first:#(run|check):*}); (( at += 1 )) ;;
        -g|--all|-w|--session|-l) first=(); (( at += 1 )) ;;
        -r|--rewrite|-e|-p|--grace|--kill-timeout) first=(); (( at += 2 )) ;;
        --timeout|--socket|-n|--lines|--since|--for) first=(${first:#(run|check|pause|example|version|help):*}); commands=0; (( at += 2 )) ;;
        -*) first=(${first:#(run|check|pause|example|version|help):*}); commands=0; (( at += 1 )) ;;
        *) break ;;
        esac
    done
    if (( at == CURRENT )) && [[ $PREFIX != -* ]]; then
        _describe verb first
        (( commands )) && _command_names
        return
    fi
    verb=$words[at]
    if (( at < CURRENT )) && (( ${verbs[(I)$verb:*]} )); then
        shift $((at - 1)) words
        (( CURRENT -= at - 1 ))
    else
        verb=$words[2]
    fi
    case $verb in
    -*)
        _arguments -S \
            '-c[the configuration]:file:_files' \
            '--config[the configuration]:file:_files' \
            '-v[tell more]' \
            '--verbose[tell more]' \
            '-g[signals go to its whole process group]' \
            '--all[signals go to every process of the container]' \
            '-r[signal S is passed on as R, not at all where R is 0]:S -R: ' \
            '--rewrite[signal S is passed on as R, not at all where R is 0]:S -R: ' \
            '-e[this exit code becomes 0]:CODE: ' \
            '-p[get this signal when the parent dies]:signal:(HUP INT QUIT TERM USR1 USR2)' \
            '-w[tell of each orphan that is reaped]' \
            '--grace[after its end the others get SIGTERM, and SIGKILL that much later]:DURATION: ' \
            '--kill-timeout[SIGKILL that long after a SIGTERM was passed on]:DURATION: ' \
            '--session[it leads a session of its own]' \
            '-l[print the licence]' \
            '-h[print how it is used]' \
            '--help[print how it is used]' \
            '-V[print the version]' \
            '--version[print the version]' \
            '*::command:_normal'
        ;;
    run)
        _arguments -S \
            '-c[the configuration]:file:_files' \
            '--config[the configuration]:file:_files' \
            '-v[tell more]' \
            '--verbose[tell more]' \
            '-h[print how it is used]' \
            '--help[print how it is used]' \
            '-V[print the version]' \
            '--version[print the version]' \
            '*::command:_normal'
        ;;
    check)
        _arguments -S \
            '-c[the configuration]:file:_files' \
            '--config[the configuration]:file:_files' \
            '--runtime[whether all it asks for can be had in this container]' \
            '-h[print how it is used]' \
            '--help[print how it is used]' \
            '-V[print the version]' \
            '--version[print the version]' \
            '*:file:_files'
        ;;
    status|ls|ps)
        _arguments \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    describe|show)
        _arguments \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    logs)
        _arguments \
            '-f[go on with what comes]' \
            '--follow[go on with what comes]' \
            '-n[at most the last N of each]:N: ' \
            '--lines[at most the last N of each]:N: ' \
            '--since[nothing older, such as 1m]:DURATION: ' \
            '--stdout[standard output only]' \
            '--stderr[standard error only]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    memory|mem)
        _arguments \
            '--pss[shared memory counted in parts, too; takes longer]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    top|monit)
        _arguments \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    start)
        _arguments \
            '--no-wait[answer when it has begun, not when it is done]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    stop)
        _arguments \
            '--no-wait[answer when it has begun, not when it is done]' \
            '--with-dependents[those that depend on it, too]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    restart)
        _arguments \
            '--no-wait[answer when it has begun, not when it is done]' \
            '--with-dependents[those that depend on it, too]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    signal)
        _arguments \
            '-g[to the whole process group]' \
            '--group[to the whole process group]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '1:signal:(HUP INT QUIT TERM USR1 USR2)' \
            '*:name:_tinysup_names'
        ;;
    health)
        _arguments \
            '--live[only whether something has failed for good or is unhealthy]' \
            '--ready[whether all are ready or done (the default)]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    wait)
        _arguments \
            '--for[what to wait for (default - ready)]:value:(ready completed stopped live)' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '*:name:_tinysup_names'
        ;;
    events)
        _arguments \
            '-f[go on with what comes]' \
            '--follow[go on with what comes]' \
            '-n[at most the last N of each]:N: ' \
            '--lines[at most the last N of each]:N: ' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]'
        ;;
    update)
        _arguments \
            '--no-wait[answer when it has begun, not when it is done]' \
            '--dry-run[only tell what would change]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]'
        ;;
    reopen)
        _arguments \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]'
        ;;
    shutdown)
        _arguments \
            '--no-wait[answer when it has begun, not when it is done]' \
            '--json[one JSON object a line, as docs/control.md has them]' \
            '--timeout[wait no longer for the answer]:DURATION: ' \
            '--socket[ask the tinysup that listens there]:path:_files' \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]'
        ;;
    completions)
        _arguments \
            '-h[show how the verb is used]' \
            '--help[show how the verb is used]' \
            '1:shell:(bash zsh fish)'
        ;;
    esac
}
if [ "$funcstack[1]" = _tinysup ]; then _tinysup "$@"; else compdef _tinysup tinysup; fi
