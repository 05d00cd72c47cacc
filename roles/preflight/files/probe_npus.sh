#!/bin/sh
# shellcheck disable=SC2154  # what probe.sh sets
# What probe.sh asks about the NPUs and who holds them; it follows this file in one program.

hccn() { # hccn DEVICE QUERY AS: the answer of hccn_tool as DEVICE|AS|STATUS|LINE; it is busy while anybody else asks
    tries=0
    while :; do
        answer=$(limited_to 10 "$tool" -i "$1" "-$2" -g 2>&1)
        code=$?
        case $answer in *'is busy'*) ;; *) break ;; esac
        tries=$((tries + 1))
        if [ "$tries" -ge 6 ] || [ "$waited" -ge 60 ]; then break; fi
        waited=$((waited + 1)) # by all NPUs together: somebody may hold the tool for hours
        sleep 1
    done
    printf '%s\n' "$answer" | while IFS= read -r line; do printf 'hccn=%s|%s|%s|%s\n' "$1" "$3" "$code" "$line"; done
    case $code in 124 | 137) return 1 ;; esac
}

chips() { # NPU, DEVICE (the number that hccn_tool takes) and CHIP, of npu-smi's map; without CHIP where it takes no -c (950, which alone has slots)
    printf '%s\n' "$map" | {
        read -r heading
        while read -r npu second third fourth _; do
            case $heading in *Phy-ID*) number=$fourth ;; *) number=$third ;; esac
            case $number in '' | *[!0-9]*) continue ;; esac # the board's controller
            case $heading in *'Slot ID'*) second='' ;; esac
            echo "$npu $number $second"
        done
    }
}

npu_devices() { # the numbers that hccn_tool takes: those of npu-smi's map, else of the devices
    found=$(chips | while read -r _ device _; do echo "$device"; done)
    [ -n "$found" ] || found=$(for device in /dev/davinci[0-9]*; do echo "${device#/dev/davinci}"; done | grep -x '[0-9]*')
    echo "$found" | sort -nu
}

ask_chips() { # what npu-smi counts and says of each chip beside its table, as NPU CHIP|QUERY|STATUS|LINE; once it hangs it is asked no more
    queries=ecc
    case $output in *Alarm* | *Critical* | *Warning* | *UNKNOWN*) queries='ecc health' ;; esac
    chips | head -n 64 | while read -r npu _ chip; do
        for query in $queries; do
            answer=$(limited_to 10 npu-smi info -t "$query" -i "$npu" ${chip:+-c "$chip"} 2>&1)
            code=$?
            printf '%s\n' "$answer" | lines "npu_more=$npu $chip|$query|$code|"
            case $code in 124 | 137) break 2 ;; esac
        done
    done
}

fabric() { # the NPUs' own network; a device that hangs is asked nothing more
    hanging=' ' waited=0
    for query in stat link net_health ip gateway netdetect tls optical link_stat mtu speed 'stat again'; do
        for device in $devices; do
            case $hanging in *" $device "*) continue ;; esac
            hccn "$device" "${query% again}" "$query" || hanging="$hanging$device "
        done
    done
}

command_of() { # as the kernel has it; reading that of a process which is stuck in a driver may hang
    limited_to 5 cat "/proc/$1/cmdline" 2>/dev/null
}

container_of() { # the container that a process is in, by the 64 digits in the path of its control group
    sed -n 's/.*[/-]\([0-9a-f]\{64\}\).*/\1/p' "/proc/$1/cgroup" 2>/dev/null | head -n 1
}

processes() { # its input of process ids, as PID|OWNER|unit, a container or -|NAME|COMMAND
    own=$(container_of 1) # of a node that is a container itself
    sort -u | while read -r pid; do
        owner=$(stat -c %U "/proc/$pid" 2>/dev/null) || continue
        command=$(command_of "$pid" | tr '\0\n|' '   ' | cut -c 1-400)
        place=$(container_of "$pid" | cut -c 1-12)
        [ "$place" != "$(echo "$own" | cut -c 1-12)" ] || place=''
        if grep -q "/$unit\$" "/proc/$pid/cgroup" 2>/dev/null; then place=unit; fi
        printf 'process=%s|%s|%s|%s|%s\n' "$pid" "$owner" "${place:--}" "$(tr '|' ' ' 2>/dev/null <"/proc/$pid/comm")" "$command"
    done
}

holders() { # processes that have an NPU open, whether npu-smi lists them or not
    find /proc/[0-9]*/fd -lname '/dev/davinci[0-9]*' 2>/dev/null | head -n 400 | sed 's|^/proc/\([0-9]*\)/.*|\1|' | sort -u | head -n 64
}

launched() { # ids of processes that may belong to a launch: npu-smi's, the training user's by their words, the unit's
    printf '%s\n' "$output" | while IFS='|' read -r _ _ pid _; do
        pid=${pid#"${pid%%[! ]*}"}
        pid=${pid%%[!0-9]*}
        [ -n "$pid" ] && [ -d "/proc/$pid" ] && echo "$pid"
    done
    find /proc -maxdepth 1 -name '[0-9]*' -user "$user" 2>/dev/null | sed 's|$|/cmdline|' \
        | within 20 xargs grep -lasE 'pretrain_gpt\.py|pretrain_mixtral\.sh|torchrun' 2>/dev/null | sed 's|[^0-9]||g'
    [ -z "$held_by" ] || printf '%s\n' "$held_by"
    cat "/sys/fs/cgroup/system.slice/$unit/cgroup.procs" "/sys/fs/cgroup/systemd/system.slice/$unit/cgroup.procs" 2>/dev/null
}
