//! The commands about the server, such as INFO, COMMAND and DBSIZE.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::cache::Cache as _;
use crate::redis_port::fault::{Done, SYNTAX};
use crate::redis_port::group::Group;
use crate::redis_port::port::CONNECTIONS_MAX;

use super::connection::REDIS_VERSION;
use super::row::{Call, Does, Keys, May, Spec, spec};
use super::sub::Sub;

const OTHER: (Group, Does, Keys) = (Group::Server, Does::Other, Keys::None);

pub(super) const SPECS: &[Spec] = &[
    spec("info", -1, OTHER, info),
    spec("command", -1, OTHER, command),
    spec("dbsize", 1, OTHER, dbsize).may(May::Services),
    spec("flushdb", -1, OTHER, flush).may(May::Services),
    spec("flushall", -1, OTHER, flush).may(May::Services),
    spec("time", 1, OTHER, |call| {
        let now_ms = call.port.edge.clock.now_ms();
        call.out.array(2);
        call.out.bulk((now_ms / 1_000).to_string().as_bytes());
        call.out.bulk((now_ms % 1_000 * 1_000).to_string().as_bytes());
        Ok(())
    }),
];

const COMMAND: &[Sub] = &[("count", 2), ("list", -2), ("info", -2), ("docs", -2)];

fn info(call: &mut Call<'_>) -> Done {
    let wanted = |section: &str| {
        call.args.len() == 1
            || call.args.from(1).any(|word| {
                [section, "all", "default", "everything"].iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            })
    };
    let (stats, counts) = (call.cache().stats(), &call.port.watch.counts);
    let count = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    let mut text = String::new();
    let up_s = (call.port.edge.clock.day_ms() - call.port.edge.control.started_ms).max(0) / 1_000;
    // Writing to a string cannot fail.
    if wanted("server") {
        let _ = write!(
            text,
            "# Server\r\nredis_version:{REDIS_VERSION}\r\nnova_version:{}\r\nredis_mode:standalone\r\nprocess_id:{}\r\n\
             run_id:{}\r\nuptime_in_seconds:{up_s}\r\n\r\n",
            crate::version::VERSION,
            std::process::id(),
            call.port.run_id,
        );
    }
    if wanted("clients") {
        let (open, max) = (count(&counts.open), CONNECTIONS_MAX);
        let _ = write!(text, "# Clients\r\nconnected_clients:{open}\r\nmaxclients:{max}\r\nblocked_clients:0\r\n\r\n");
    }
    if wanted("memory") {
        let _ = write!(
            text,
            "# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:s3-fifo\r\n\r\n",
            stats.bytes, stats.limit_bytes
        );
    }
    if wanted("persistence") {
        text += "# Persistence\r\nloading:0\r\n\r\n";
    }
    if wanted("stats") {
        let commands: u64 = counts.commands.iter().map(count).sum();
        let _ = write!(
            text,
            "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{commands}\r\n\
             rejected_connections:{}\r\nevicted_keys:{}\r\nkeyspace_hits:{}\r\nkeyspace_misses:{}\r\n\
             total_error_replies:{}\r\n\r\n",
            count(&counts.connections),
            count(&counts.refused),
            stats.evictions,
            stats.hits,
            stats.misses,
            count(&counts.errors),
        );
    }
    if wanted("replication") {
        text += "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n";
    }
    if wanted("keyspace") {
        let _ = write!(text, "# Keyspace\r\ndb0:keys={},expires=0,avg_ttl=0\r\n", stats.entries);
    }
    call.out.verbatim(&text);
    Ok(())
}

fn command(call: &mut Call<'_>) -> Done {
    let all = call.all;
    let named = || call.args.from(2).map(|name| all.find(name)).collect::<Vec<_>>();
    if call.args.len() == 1 {
        let out = &mut *call.out;
        out.array(all.rows.len());
        all.rows.iter().for_each(|spec| entry(Some(*spec), out));
        return Ok(());
    }
    match call.sub("command", COMMAND)? {
        "count" => call.out.int(all.rows.len() as i64),
        // nova does not support the option FILTERBY of COMMAND LIST.
        "list" if call.args.len() > 2 => return Err(SYNTAX),
        "list" => {
            call.out.array(all.rows.len());
            all.rows.iter().for_each(|spec| call.out.bulk(spec.name.as_bytes()));
        }
        "info" => {
            let wanted = if call.args.len() == 2 { all.rows.iter().map(|spec| Some(*spec)).collect() } else { named() };
            call.out.array(wanted.len());
            wanted.into_iter().for_each(|spec| entry(spec, call.out));
        }
        _ => {
            let wanted: Vec<_> =
                if call.args.len() == 2 { all.rows.clone() } else { named().into_iter().flatten().collect() };
            call.out.map(wanted.len());
            for spec in wanted {
                call.out.bulk(spec.name.as_bytes());
                call.out.map(1);
                call.out.bulk(b"group");
                call.out.bulk(crate::http::PORT_GROUPS[spec.group as usize].as_bytes());
            }
        }
    }
    Ok(())
}

/// Writes the description of a command as COMMAND INFO does: name, arity, flags, positions of keys, categories, hints,
/// key specifications and subcommands.
fn entry(spec: Option<&Spec>, out: &mut crate::redis_port::reply::Out) {
    let Some(spec) = spec else { return out.null() };
    let flag = match spec.does {
        Does::Read => "readonly",
        Does::Write => "write",
        Does::Other => "fast",
    };
    let (first, last, step) = match spec.keys {
        Keys::None => (0, 0, 0),
        Keys::First => (1, 1, 1),
        Keys::All => (1, -1, 1),
        Keys::Pairs => (1, -1, 2),
    };
    out.array(10);
    out.bulk(spec.name.as_bytes());
    out.int(spec.arity.into());
    out.set(1);
    out.simple(flag);
    [first, last, step].into_iter().for_each(|number| out.int(number));
    out.set(1);
    out.simple(&format!("@{}", crate::http::PORT_GROUPS[spec.group as usize]));
    out.array(0);
    out.array(0);
    out.array(0);
}

/// Counts the keys of the cache and nova's own keys, which are two for each user and one for each window.
fn dbsize(call: &mut Call<'_>) -> Done {
    let serving = &call.port.edge.serving;
    let own = serving.trending.windows().len() + 2 * serving.state.read().users.len();
    call.out.int((own + call.cache().count_plain()) as i64);
    Ok(())
}

/// Removes every key from the cache. nova's own keys stay.
fn flush(call: &mut Call<'_>) -> Done {
    if call.args.len() > 2 || (call.args.len() == 2 && !call.is(1, "sync") && !call.is(1, "async")) {
        return Err(SYNTAX);
    }
    call.cache().clear_plain();
    call.out.ok();
    Ok(())
}
