#!/bin/sh
# Mends what check_cluster_fix names, on one node. No Python is needed: a POSIX shell and the tool at hand. plugins/module_utils/_fixes.py puts
# lines behind this that call its functions. Printed are done=COMMAND, kept=WORDS (it was so before), failed=COMMAND: WORDS, and end=NODE.
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
failed=0

attempt() { # attempt PROGRAM ARGUMENT...; hccn_tool is busy while anybody else asks it
    tries=0
    while :; do
        if command -v timeout >/dev/null 2>&1; then said=$(timeout 60 "$@" </dev/null 2>&1); else said=$("$@" </dev/null 2>&1); fi
        code=$?
        if [ "$code" = 0 ]; then
            printf 'done=%.300s\n' "$*"
            return 0
        fi
        case $said in *'is busy'*) ;; *) break ;; esac
        tries=$((tries + 1))
        [ "$tries" -lt 6 ] || break
        sleep 1
    done
    failed=1
    printf 'failed=%.300s: %s (exit status %s)\n' "$*" "$(printf '%s' "$said" | tr '\n' ' ')" "$code"
}

family() { # family ADDRESS
    case $1 in *:*) echo ipv6 ;; *) echo ipv4 ;; esac
}

open_firewalld() { # open_firewalld 'PORT PORT-PORT …' ADDRESS...: for now and for good, in the zone of the interface that leads there
    ports=$1 before='' wanted=''
    shift
    for address; do
        device=$(ip -o route get "$address" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
        # firewall-cmd takes a third of a second, and nodes are many.
        if [ "${device:=-}" != "$before" ]; then
            zone=$(firewall-cmd --get-zone-of-interface="$device" 2>/dev/null) || zone=$(firewall-cmd --get-default-zone)
            before=$device
        fi
        for port in $ports; do
            wanted="$wanted$zone rule family=\"$(family "$address")\" source address=\"$address\" port port=\"$port\" protocol=\"tcp\" accept
"
        done
    done
    for zone in $(printf '%s' "$wanted" | cut -d ' ' -f 1 | sort -u); do
        for lasting in --permanent ''; do
            rules=$(firewall-cmd ${lasting:+"$lasting"} --zone="$zone" --list-rich-rules 2>/dev/null)
            set --
            while read -r rule; do
                if printf '%s\n' "$rules" | grep -qxF "$rule"; then
                    printf 'kept=%s\n' "$rule"
                else
                    set -- "$@" "--add-rich-rule=$rule"
                fi
            done <<RULES
$(printf '%s' "$wanted" | sed -n "s/^$zone //p")
RULES
            [ "$#" = 0 ] || attempt firewall-cmd ${lasting:+"$lasting"} --zone="$zone" "$@"
        done
    done
}

open_ufw() { # open_ufw 'PORT PORT-PORT …' ADDRESS...: one that is denied by name stays denied, for that rule comes first
    ports=$(printf '%s' "$1" | tr ' -' ',:')
    shift
    for address; do
        if ufw show added 2>/dev/null | grep -F "from $address " | grep -qF "port $ports "; then
            printf 'kept=ufw allow from %s to any port %s\n' "$address" "$ports"
        else
            attempt ufw allow proto tcp from "$address" to any port "$ports" comment ascend-cluster
        fi
    done
}

open_nftables() { # open_nftables 'PORT PORT-PORT …' ADDRESS...: in every chain of input that drops; lost when the rules are loaded anew
    ports=$1
    shift
    nft list chains 2>/dev/null | awk '$1 == "table" { family = $2; table = $3 } $1 == "chain" { chain = $2 }
        /hook input/ && /policy drop/ { print family, table, chain }' | {
        while read -r kind table chain; do
            for address; do
                case $kind:$(family "$address") in inet:ipv4 | ip:ipv4) word=ip ;; inet:ipv6 | ip6:ipv6) word=ip6 ;; *) continue ;; esac
                note="ascend-cluster $address $ports"
                if nft list chain "$kind" "$table" "$chain" | grep -qF "comment \"$note\""; then
                    printf 'kept=%s\n' "$note"
                else
                    attempt nft insert rule "$kind" "$table" "$chain" "$word" saddr "$address" tcp dport "{ $(printf '%s' "$ports" | sed 's/ /, /g') }" \
                        accept comment "\"$note\""
                fi
            done
        done
        exit "$failed"
    } || failed=1
}

set_limits() { # set_limits UNIT 'NAME LEAST'...: in a drop-in of ours, whose other lines stay; a hard limit that is higher stays, too
    unit=$1
    shift
    folder=${SYSTEMD:-/etc/systemd/system}/$unit.d
    file=$folder/50-check-cluster.conf
    was=$(cat "$file" 2>/dev/null)
    text=$(printf '%s\n' "$was" | grep '=')
    for limit; do
        name=${limit% *} least=${limit#* }
        hard=$(systemctl show "$unit" --property="$name" --value 2>/dev/null)
        case $name:$least:$hard in
            TasksMax:* | *:infinity:*) value=$least ;;
            *:infinity) value=$least:infinity ;;
            *) if [ "$hard" -gt "$least" ] 2>/dev/null; then value=$least:$hard; else value=$least; fi ;;
        esac
        text=$(printf '%s\n' "$text" | grep -v "^$name=")
        text="$text
$name=$value"
    done
    text="# Made by check_cluster_fix: what the checks found too low for the training.
[Service]
$(printf '%s\n' "$text" | grep .)"
    if [ "$was" = "$text" ]; then
        printf 'kept=%s\n' "$file"
    elif mkdir -p "$folder" && printf '%s\n' "$text" >"$file.new" && chmod 0644 "$file.new" && mv "$file.new" "$file"; then
        attempt systemctl daemon-reload
    else
        failed=1
        printf 'failed=%s: it cannot be written\n' "$file"
    fi
}

finish() { # finish NODE: all calls were made
    printf 'end=%s\n' "$1"
    exit "$failed"
}
