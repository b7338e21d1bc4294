#!/usr/bin/env bash
# The live view on a real terminal (tmux), driven by keys and checked from the captured screen.
#
#   .ci/hud.sh PROGRAM PANICS     the example `hud` and .ci/hud_panics.rs, built
#
# Every wait is for something to appear on the screen, with a bound beyond which the check fails.
set -euo pipefail

program=$(realpath "$1")
panics=$(realpath "$2")
socket="minigun-hud-$$"
words=$(mktemp -u)
mkfifo "$words"
tmux() { command tmux -L "$socket" -f /dev/null "$@"; }
# What a failed check leaves is ended: the terminal, and by its number what ran there.
cleanup() {
    local pid
    pid=$(pid_of_program) && kill -KILL "$pid"
    pid=$(pgrep -o -f "^$panics ") && kill -KILL "$pid"
    rm -f "$words"
    tmux kill-server
} 2>/dev/null
trap 'cleanup || true' EXIT

screen() { tmux capture-pane -p -t view; }
keys() { tmux send-keys -t view "$@"; }
fail() { echo "FAILED: $1; the screen:"; screen; exit 1; }

# Waits until the screen has a line like this.
shows() {
    local tries
    for tries in $(seq 150); do
        ! screen | grep -E -- "$1" >/dev/null || return 0
        sleep 0.2
    done
    fail "nothing like '$1' within 30 s"
}
hides() {
    local tries
    for tries in $(seq 150); do
        screen | grep -E -- "$1" >/dev/null || return 0
        sleep 0.2
    done
    fail "'$1' is still there after 30 s"
}
step() { printf '  %s\n' "$*"; }

# The process of the program, and the thread of its view.
pid_of_program() { pgrep -o -f "^$program( |\$)"; }
thread_of_view() {
    local task
    for task in /proc/"$(pid_of_program)"/task/*; do
        if [ "$(cat "$task/comm")" = "mg:hud" ]; then echo "$task"; return; fi
    done
    fail "the program has no thread mg:hud"
}
# The terminal is as it was: lines are edited, what is typed is shown, the prompt is there.
is_given_back() {
    keys "stty -a | grep -oE '[-]?(icanon|echo) ' | tr -d '\\n'; echo =" Enter
    shows '^icanon echo ='
}

tmux new-session -d -s view -x 110 -y 34 "env -i HOME=/ PATH=$PATH TERM=screen-256color PS1='prompt> ' bash --norc --noprofile"
shows 'prompt>'

step "a run is shown: graph, stages, workers, failures, status"
keys "$program" Enter
for text in '─ fetch ─' '┏ stages ━' 'workers [0-9]+' 'last failures' 'RUNNING  hud' '▶ parse .*[0-9]' '▼' '•'; do shows "$text"; done
shows ' [0-9]+ parse +(working|waiting|starting)'
shows 'skipped [0-9]+ of parse: page'

step "? shows the keys, and hides them"
keys '?'; shows 'q +quit: asks'; keys '?'; hides 'q +quit: asks'

step "arrows and wasd choose a stage, enter shows its details"
keys Down; keys s; keys Enter; shows 'try_map in processes:2'; shows 'latency +p50 [0-9]'
keys Escape; hides 'try_map in processes:2'

step "p shows progress"
keys p; shows 'under way'; keys p; hides 'under way'

step "space pauses the view, and the run goes on"
keys Space; shows 'VIEW PAUSED'
before=$(screen | grep -E 'store ' | head -1); sleep 1
[ "$(screen | grep -E 'store ' | head -1)" = "$before" ] || fail "a paused view moved"
keys Space; hides 'VIEW PAUSED'

step "at 60x10 the panes find room, and tab shows the others"
tmux resize-window -t view -x 60 -y 10
shows '^┌ graph.*stages ━+┓$'; shows 'RUNNING  hud .*\? help'
keys Tab; shows '┏ workers'; keys Tab; shows '┏ last failures'; keys Tab; shows '┏ graph'
keys z; hides '━ stages|─ stages'; shows '┏ graph ━{50}'; keys z; shows '┌ stages'
keys Down; keys Down; keys Down; shows '↑'
tmux resize-window -t view -x 110 -y 34
shows '┏ graph'; shows '─ store ─'

step "what it costs"
task=$(thread_of_view)
begun=$(cut -d' ' -f1 "$task/schedstat"); sleep 5; ended=$(cut -d' ' -f1 "$task/schedstat")
printf '    %d.%02d %% of a core\n' $(((ended - begun) / 50000000)) $(((ended - begun) / 500000 % 100))

step "q asks; n closes the view, the run goes on and tells of itself in lines"
keys q; shows 'Stop the run of .hud.\?'; keys Escape; hides 'Stop the run'
keys q; shows 'Stop the run'; keys n; hides 'stages'; shows '^hud: .*fetch [0-9]'
kill -INT "$(pid_of_program)"; shows 'prompt>$'; is_given_back

step "SIGTERM gives the terminal back, and ends the program as ever"
keys 'clear' Enter; keys "$program; echo code \$?" Enter; shows 'RUNNING  hud'
kill -TERM "$(pid_of_program)"; shows '^code 143'; is_given_back

step "after a caught panic the view comes back, also after it was closed and opened again; after one of the program the terminal is given back, with the message"
keys 'clear' Enter; keys "$panics $words; echo code \$?" Enter; shows 'RUNNING  panics'
exec 3<>"$words"
echo item >&3; shows 'skipped [0-9]+ of work: .*one item is bad'; shows 'RUNNING  panics'
echo close >&3; hides 'RUNNING'; echo open >&3; shows 'RUNNING  panics'; shows 'skipped [0-9]+ of work'
echo main >&3; shows 'the program has a defect'; shows '^code 101'; hides 'RUNNING'; is_given_back
exec 3>&-

step "q and y stop the run, and what was in flight is finished"
keys 'clear' Enter; keys "$program; echo code \$?" Enter; shows 'RUNNING  hud'
keys q; shows 'Stop the run'; keys y; shows '^[0-9]+ pages made, .* 0 lost'; shows '^code 0'; is_given_back

step "a run that ends by itself closes the view"
keys 'clear' Enter; keys "$program --seconds 2; echo code \$?" Enter; shows 'RUNNING  hud'
shows '^[0-9]+ pages made, .* 0 lost'; shows '^code 0'; is_given_back

step "a program whose terminal is gone ends"
keys 'clear' Enter; keys "exec $program" Enter; shows 'RUNNING  hud'
gone=$(pid_of_program); command tmux -L "$socket" kill-server
for _ in $(seq 100); do kill -0 "$gone" 2>/dev/null || break; sleep 0.2; done
! kill -0 "$gone" 2>/dev/null || { echo "FAILED: it goes on"; exit 1; }

step "without a terminal there are lines"
"$program" --seconds 7 </dev/null 2>&1 | grep -E '^hud: .*fetch [0-9]' >/dev/null || { echo "FAILED: no line"; exit 1; }
echo "the live view does what it says"
