# bash completion for tinysup: source <(tinysup completions bash)
_tinysup_names() {
    local line lines names=' '
    mapfile -t lines < <(tinysup status 2>/dev/null)
    [ ${#lines[@]} -gt 2 ] || return
    for line in "${lines[@]:1:${#lines[@]}-2}"; do
        line=${line%% *}
        [[ $names == *" ${line%.*} "* ]] || names+="${line%.*} "
        [ "$line" = "${line%.*}" ] || names+="$line "
    done
    echo "$names"
}
_tinysup() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=
    COMPREPLY=()
    case $before in
    --socket | -c | --config) COMPREPLY=($(compgen -f -- "$word")); return ;;
    --for) COMPREPLY=($(compgen -W 'ready completed stopped live' -- "$word")); return ;;
    -p) COMPREPLY=($(compgen -W 'HUP INT QUIT TERM USR1 USR2' -- "$word")); return ;;
    --timeout | --since | -n | --lines | -r | --rewrite | -e | --grace | --kill-timeout) return ;;
    esac
    local at=1 commands=1 first='status ls ps describe show logs memory mem top monit start stop restart signal health wait events update reopen shutdown completions run check pause example version help'
    while [ "$at" -lt "$COMP_CWORD" ]; do
        case ${COMP_WORDS[at]} in
        --) break ;;
        -c | --config) first=${first:+run check}; ((at += 2)) ;;
        -v | --verbose) first=${first:+run check}; ((at += 1)) ;;
        -g | --all | -w | --session | -l) first=; ((at += 1)) ;;
        -r | --rewrite | -e | -p | --grace | --kill-timeout) first=; ((at += 2)) ;;
        --timeout | --socket | -n | --lines | --since | --for) first=${first%% run *} commands=; ((at += 2)) ;;
        -*) first=${first%% run *} commands=; ((at += 1)) ;;
        *) break ;;
        esac
    done
    if [ "$at" -ge "$COMP_CWORD" ]; then
        case $word in
        -*) COMPREPLY=($(compgen -W '-c --config -v --verbose -g --all -r --rewrite -e -p -w --grace --kill-timeout --session -l -h --help -V --version' -- "$word")) ;;
        *) COMPREPLY=($(compgen -W "$first" -- "$word") ${commands:+$(compgen -c -- "$word")}) ;;
        esac
        return
    fi
    case ${COMP_WORDS[at]} in
    --) COMPREPLY=($(compgen -c -- "$word")); return ;;
    status | ls | ps) words="--json --timeout --socket -h --help $(_tinysup_names)" ;;
    describe | show) words="--json --timeout --socket -h --help $(_tinysup_names)" ;;
    logs) words="-f --follow -n --lines --since --stdout --stderr --json --timeout --socket -h --help $(_tinysup_names)" ;;
    memory | mem) words="--pss --json --timeout --socket -h --help $(_tinysup_names)" ;;
    top | monit) words="--timeout --socket -h --help $(_tinysup_names)" ;;
    start) words="--no-wait --json --timeout --socket -h --help $(_tinysup_names)" ;;
    stop) words="--no-wait --with-dependents --json --timeout --socket -h --help all $(_tinysup_names)" ;;
    restart) words="--no-wait --with-dependents --json --timeout --socket -h --help all $(_tinysup_names)" ;;
    signal) words="-g --group --json --timeout --socket -h --help HUP INT QUIT TERM USR1 USR2 all $(_tinysup_names)" ;;
    health) words="--live --ready --json --timeout --socket -h --help $(_tinysup_names)" ;;
    wait) words="--for --json --timeout --socket -h --help $(_tinysup_names)" ;;
    events) words="-f --follow -n --lines --json --timeout --socket -h --help" ;;
    update) words="--no-wait --dry-run --json --timeout --socket -h --help" ;;
    reopen) words="--json --timeout --socket -h --help" ;;
    shutdown) words="--no-wait --json --timeout --socket -h --help" ;;
    completions) words="-h --help bash zsh fish" ;;
    run) if [[ ${COMP_WORDS[*]:at+1:COMP_CWORD-at-1} =~ (^| )--($| ) ]]; then COMPREPLY=($(compgen -c -- "$word")); return; fi
        words="-c --config -v --verbose -h --help -V --version --" ;;
    check) words="-c --config --runtime -h --help -V --version" COMPREPLY=($(compgen -f -- "$word")) ;;
    help) words="status describe logs memory top start stop restart signal health wait events update reopen shutdown completions" ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
    COMPREPLY+=($(compgen -W "$words" -- "$word"))
}
complete -F _tinysup tinysup
