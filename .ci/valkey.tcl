# One unit of Valkey's own suite against a server that somebody else started: valkey.tcl HOST PORT UNIT, within a checkout of
# Valkey. `.ci/valkey.py` runs it. It writes a line a test: how it ended, its name, and why, between tabs.
#
# The tests run as they are. Only what is inside of Valkey is not asked for: encodings, memory, and settings.

lassign $argv asked_host asked_port unit

# The suite's own procedures and settings, without its main program.
proc commands {text} {
    set commands {}
    set command ""
    foreach line [split $text "\n"] {
        append command $line "\n"
        if {[info complete $command]} {
            if {[string trim $command] ne "" && ![string match "#*" [string trimleft $command]]} {
                lappend commands $command
            }
            set command ""
        }
    }
    return $commands
}

proc text {path} {
    set file [open $path]
    fconfigure $file -encoding utf-8
    set text [read $file]
    close $file
    return $text
}

source tests/support/valkey.tcl
source tests/support/util.tcl
source tests/support/test.tcl
foreach path {tests/test_helper.tcl tests/support/server.tcl} {
    foreach command [commands [text $path]] {
        if {[regexp {^(proc\s|set ::)} $command]} {
            eval $command
        }
    }
}

set ::host $asked_host
set ::port $asked_port
set ::external 1
set ::singledb 1
set ::ignoreencoding 1
set ::ignoredigest 1
set ::tags {}
# A fuzz test takes a minute and more.
set ::denytags {needs:debug needs:repl needs:save needs:config-maxmemory needs:reset slow scripting cluster}

fconfigure stdout -encoding utf-8 -buffering line

proc told {how name why} {
    puts [join [lmap part [list $how $name $why] {string map {"\t" " " "\n" " " "\r" " "} $part}] "\t"]
}

# A test that did not pass lacks what it asked for and the server does not have, whatever it made of that.
proc judged {name why} {
    if {[llength $::lacked]} {
        told "lacks" $name [join [lsort -unique $::lacked] "; "]
    } else {
        told "failed" $name $why
    }
}

# Each command that the server does not list, and each form that it says it does not have.
set known {}
set lacked {}
rename ::valkey::__dispatch__ ::valkey::dispatched
proc ::valkey::__dispatch__ {id method args} {
    set command [string tolower $method]
    if {[llength $::known] && $command ni $::known && [info commands ::valkey::__method__$method] eq ""} {
        lappend ::lacked [string toupper $command]
    }
    set code [catch {uplevel 1 [list ::valkey::dispatched $id $method {*}$args]} answer]
    if {$code && [regexp {ERR (.*) is not supported} $answer -> form]} {
        lappend ::lacked "[string toupper $command] $form"
    }
    return -code $code $answer
}

proc fresh {} {
    catch {[srv client] close}
    set client [valkey $::host $::port 0 0]
    set ::servers [list [dict create host $::host port $::port config {} client $client pid 0 stdout /dev/null stderr /dev/null]]
}

rename r sent
array set settings {}
proc r {args} {
    set args_of [expr {[string is integer -strict [lindex $args 0]] ? [lrange $args 1 end] : $args}]
    set words [string tolower [lrange $args_of 0 1]]
    switch -- $words {
        "config set" {
            lappend ::lacked CONFIG
            array set ::settings [lrange $args_of 2 end]
            return OK
        }
        "config get" {
            lappend ::lacked CONFIG
            set name [lindex $args_of 2]
            return [list $name [expr {[info exists ::settings($name)] ? $::settings($name) : 128}]]
        }
        "memory usage" {
            lappend ::lacked MEMORY
            return 64
        }
    }
    uplevel 1 [list sent {*}$args]
}
proc config_set {args} {}
proc config_get_set {args} { return 128 }
proc start_cluster {args} { told "skipped" "a block of tests" "Not supported without a cluster" }

# Each command by itself: one that fails is told, and the next one runs.
proc body {code} {
    foreach command [commands $code] {
        set ::lacked {}
        if {[catch {uplevel #0 $command} why]} {
            judged "outside of a test: [string range [string trim [string map {"\n" " "} $command]] 0 60]" $why
            fresh
        }
    }
}

proc within {tags code} {
    set before $::tags
    set ::tags [concat $::tags [string map {\" ""} $tags]]
    if {[tags_acceptable $::tags why]} {
        body $code
    } else {
        told "skipped" "a block of tests" $why
    }
    set ::tags $before
}

proc tags {tags code} { within $tags $code }

proc start_server {options {code ""}} {
    set tags {}
    if {$code eq ""} { return }
    foreach {name value} [uplevel 1 [list subst -nocommands $options]] {
        if {$name eq "tags"} { set tags $value }
    }
    within $tags $code
}

proc test {name code {okpattern undefined} {tags {}}} {
    if {![tags_acceptable [concat $::tags $tags] why]} {
        return [told "skipped" $name $why]
    }
    set ::lacked {}
    if {[catch {uplevel 1 $code} answer]} {
        judged $name $answer
        # Its answers may be unread, and its protocol another.
        return [fresh]
    }
    if {$okpattern eq "undefined" || $okpattern eq $answer || [string match $okpattern $answer]} {
        told "passed" $name ""
    } else {
        judged $name "Expected '$okpattern', got '$answer'"
    }
}

fresh
r flushall
set known [string tolower [r command list]]
set ::curfile $unit
body [text tests/$unit.tcl]
told "done" $unit ""
