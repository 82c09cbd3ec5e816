# fish completion for tinysup: tinysup completions fish | source
function __tinysup_names
    set -l lines (tinysup status 2>/dev/null)
    test (count $lines) -gt 2; or return
    set -l names (string replace -r ' .*' '' -- $lines[2..-2])
    string replace -r '\..*' '' -- $names
    string match '*.*' -- $names
end
function __tinysup_word
    set -l value
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test -n "$value"
            set value
            continue
        end
        switch $word
            case --
                echo --
                return
            case -c --config -r --rewrite -e -p --grace --kill-timeout --timeout --socket -n --lines --since --for
                set value 1
            case '-*'
            case '*'
                echo $word
                return
        end
    end
    return 1
end
function __tinysup_one
    not __tinysup_word >/dev/null
end
function __tinysup_verb
    set -l word (__tinysup_word); and contains -- $word $argv
end
function __tinysup_first
    not __tinysup_word >/dev/null; or return
    set -l words (commandline -opc)
    for word in $words[2..-1]
        switch $word
            case -c --config -v --verbose
                test $argv[1] = run; or return
            case -g --all -w --session -l -r --rewrite -e -p --grace --kill-timeout
                return 1
            case --timeout --socket -n --lines --since --for '-*'
                test $argv[1] = ask; or return
        end
    end
end
complete -c tinysup -f
complete -c tinysup -n '__tinysup_first ask' -a status -d 'everything at a glance; exit code 3 if something is not as it should be'
complete -c tinysup -n '__tinysup_first ask' -a ls -d 'everything at a glance; exit code 3 if something is not as it should be'
complete -c tinysup -n '__tinysup_first ask' -a ps -d 'everything at a glance; exit code 3 if something is not as it should be'
complete -c tinysup -n '__tinysup_first ask' -a describe -d 'everything about a service'
complete -c tinysup -n '__tinysup_first ask' -a show -d 'everything about a service'
complete -c tinysup -n '__tinysup_first ask' -a logs -d 'the last output, also of what has ended, with its ends in between'
complete -c tinysup -n '__tinysup_first ask' -a memory -d 'who holds how much memory, and the container'
complete -c tinysup -n '__tinysup_first ask' -a mem -d 'who holds how much memory, and the container'
complete -c tinysup -n '__tinysup_first ask' -a top -d 'the status once a second, on the whole screen, with keys to act'
complete -c tinysup -n '__tinysup_first ask' -a monit -d 'the status once a second, on the whole screen, with keys to act'
complete -c tinysup -n '__tinysup_first ask' -a start -d 'start what is down, with a fresh restart budget'
complete -c tinysup -n '__tinysup_first ask' -a stop -d 'stop it until it is started again'
complete -c tinysup -n '__tinysup_first ask' -a restart -d 'stop it and start it again, with a fresh restart budget'
complete -c tinysup -n '__tinysup_first ask' -a signal -d 'send a signal to a service'
complete -c tinysup -n '__tinysup_first ask' -a health -d 'exit code 0 or 1, and why in a line - for HEALTHCHECK and exec probes'
complete -c tinysup -n '__tinysup_first ask' -a wait -d 'wait until it is ready, completed, stopped or live; 30 s if not told otherwise'
complete -c tinysup -n '__tinysup_first ask' -a events -d 'what has happened, numbered'
complete -c tinysup -n '__tinysup_first ask' -a update -d 'read the configuration again, and restart only what has changed; a broken one changes nothing'
complete -c tinysup -n '__tinysup_first ask' -a reopen -d 'close the files of output and open them again, for those who move them'
complete -c tinysup -n '__tinysup_first ask' -a shutdown -d 'stop everything in order, and end the container'
complete -c tinysup -n '__tinysup_first ask' -a completions -d 'print the completions for a shell'
complete -c tinysup -n '__tinysup_first run' -a run -d 'run the services, and perhaps a command beside them'
complete -c tinysup -n '__tinysup_first run' -a check -d 'check a configuration'
complete -c tinysup -n '__tinysup_first else' -a pause -d 'be an init of nothing'
complete -c tinysup -n '__tinysup_first else' -a example -d 'print a commented configuration'
complete -c tinysup -n '__tinysup_first else' -a version -d 'print the version'
complete -c tinysup -n '__tinysup_first else' -a help -d 'print how it is used'
complete -c tinysup -n '__tinysup_verb status ls ps' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb status ls ps' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb status ls ps' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb status ls ps' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb status ls ps' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb describe show' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb describe show' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb describe show' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb describe show' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb describe show' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb logs' -s f -l follow -d 'go on with what comes'
complete -c tinysup -n '__tinysup_verb logs' -s n -l lines -x -d 'at most the last N of each'
complete -c tinysup -n '__tinysup_verb logs' -l since -x -d 'nothing older, such as 1m'
complete -c tinysup -n '__tinysup_verb logs' -l stdout -d 'standard output only'
complete -c tinysup -n '__tinysup_verb logs' -l stderr -d 'standard error only'
complete -c tinysup -n '__tinysup_verb logs' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb logs' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb logs' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb logs' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb logs' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb memory mem' -l pss -d 'shared memory counted in parts, too; takes longer'
complete -c tinysup -n '__tinysup_verb memory mem' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb memory mem' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb memory mem' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb memory mem' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb memory mem' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb top monit' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb top monit' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb top monit' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb top monit' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb start' -l no-wait -d 'answer when it has begun, not when it is done'
complete -c tinysup -n '__tinysup_verb start' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb start' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb start' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb start' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb start' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb stop' -l no-wait -d 'answer when it has begun, not when it is done'
complete -c tinysup -n '__tinysup_verb stop' -l with-dependents -d 'those that depend on it, too'
complete -c tinysup -n '__tinysup_verb stop' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb stop' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb stop' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb stop' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb stop' -a 'all (__tinysup_names)'
complete -c tinysup -n '__tinysup_verb restart' -l no-wait -d 'answer when it has begun, not when it is done'
complete -c tinysup -n '__tinysup_verb restart' -l with-dependents -d 'those that depend on it, too'
complete -c tinysup -n '__tinysup_verb restart' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb restart' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb restart' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb restart' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb restart' -a 'all (__tinysup_names)'
complete -c tinysup -n '__tinysup_verb signal' -s g -l group -d 'to the whole process group'
complete -c tinysup -n '__tinysup_verb signal' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb signal' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb signal' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb signal' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb signal' -a 'HUP INT QUIT TERM USR1 USR2 all (__tinysup_names)'
complete -c tinysup -n '__tinysup_verb health' -l live -d 'only whether something has failed for good or is unhealthy'
complete -c tinysup -n '__tinysup_verb health' -l ready -d 'whether all are ready or done (the default)'
complete -c tinysup -n '__tinysup_verb health' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb health' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb health' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb health' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb health' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb wait' -l for -x -a 'ready completed stopped live' -d 'what to wait for (default - ready)'
complete -c tinysup -n '__tinysup_verb wait' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb wait' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb wait' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb wait' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb wait' -a '(__tinysup_names)'
complete -c tinysup -n '__tinysup_verb events' -s f -l follow -d 'go on with what comes'
complete -c tinysup -n '__tinysup_verb events' -s n -l lines -x -d 'at most the last N of each'
complete -c tinysup -n '__tinysup_verb events' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb events' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb events' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb events' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb update' -l no-wait -d 'answer when it has begun, not when it is done'
complete -c tinysup -n '__tinysup_verb update' -l dry-run -d 'only tell what would change'
complete -c tinysup -n '__tinysup_verb update' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb update' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb update' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb update' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb reopen' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb reopen' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb reopen' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb reopen' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb shutdown' -l no-wait -d 'answer when it has begun, not when it is done'
complete -c tinysup -n '__tinysup_verb shutdown' -l json -d 'one JSON object a line, as docs/control.md has them'
complete -c tinysup -n '__tinysup_verb shutdown' -l timeout -x -d 'wait no longer for the answer'
complete -c tinysup -n '__tinysup_verb shutdown' -l socket -r -F -d 'ask the tinysup that listens there'
complete -c tinysup -n '__tinysup_verb shutdown' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb completions' -s h -l help -d 'show how the verb is used'
complete -c tinysup -n '__tinysup_verb completions' -a 'bash zsh fish'
complete -c tinysup -n '__tinysup_one' -s c -l config -r -F -d 'the configuration'
complete -c tinysup -n '__tinysup_one' -s v -l verbose -d 'tell more'
complete -c tinysup -n '__tinysup_one' -s g -d 'signals go to its whole process group'
complete -c tinysup -n '__tinysup_one' -l all -d 'signals go to every process of the container'
complete -c tinysup -n '__tinysup_one' -s r -l rewrite -x -d 'signal S is passed on as R, not at all where R is 0'
complete -c tinysup -n '__tinysup_one' -s e -x -d 'this exit code becomes 0'
complete -c tinysup -n '__tinysup_one' -s p -x -a 'HUP INT QUIT TERM USR1 USR2' -d 'get this signal when the parent dies'
complete -c tinysup -n '__tinysup_one' -s w -d 'tell of each orphan that is reaped'
complete -c tinysup -n '__tinysup_one' -l grace -x -d 'after its end the others get SIGTERM, and SIGKILL that much later'
complete -c tinysup -n '__tinysup_one' -l kill-timeout -x -d 'SIGKILL that long after a SIGTERM was passed on'
complete -c tinysup -n '__tinysup_one' -l session -d 'it leads a session of its own'
complete -c tinysup -n '__tinysup_one' -s l -d 'print the licence'
complete -c tinysup -n '__tinysup_one' -s h -l help -d 'print how it is used'
complete -c tinysup -n '__tinysup_one' -s V -l version -d 'print the version'
complete -c tinysup -n '__tinysup_verb run' -s c -l config -r -F -d 'the configuration'
complete -c tinysup -n '__tinysup_verb run' -s v -l verbose -d 'tell more'
complete -c tinysup -n '__tinysup_verb run' -s h -l help -d 'print how it is used'
complete -c tinysup -n '__tinysup_verb run' -s V -l version -d 'print the version'
complete -c tinysup -n '__tinysup_verb check' -s c -l config -r -F -d 'the configuration'
complete -c tinysup -n '__tinysup_verb check' -l runtime -d 'whether all it asks for can be had in this container'
complete -c tinysup -n '__tinysup_verb check' -s h -l help -d 'print how it is used'
complete -c tinysup -n '__tinysup_verb check' -s V -l version -d 'print the version'
complete -c tinysup -n '__tinysup_verb run check' -F
