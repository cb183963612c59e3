//! The metrics of the process, under the names that the client libraries of Prometheus use.

use std::sync::OnceLock;

use prometheus_client::registry::Registry;

use crate::version::{COMMIT, STORE_FORMAT, VERSION};

use super::family::{gauges, labels, real, real_total};

/// Indexes of fields of `/proc/{pid}/stat` (proc_pid_stat(5)), counted from the field after the name of the program.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Adds the metrics of the process. The function adds nothing if the kernel has no `/proc`.
pub(super) fn process(to: &mut Registry) {
    let format = STORE_FORMAT.to_string();
    let build = labels([("version", VERSION), ("commit", COMMIT), ("store_format", &format)]);
    gauges(to, "nova_build_info", "1, with what was built", [(build, 1.0)]);
    let Some(stat) = stat() else { return };
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let cpu_s = (stat(USER_TICKS) + stat(SYSTEM_TICKS)) / ticks_per_s;
    real_total(to, "process_cpu_seconds", "Time of processors, user and system", cpu_s);
    let resident = stat(RESIDENT_PAGES) * rustix::param::page_size() as f64;
    real(to, "process_resident_memory_bytes", "Memory that is resident", resident);
    real(to, "process_virtual_memory_bytes", "Size of the address space", stat(VIRTUAL_BYTES));
    real(to, "process_threads", "Threads of the process", stat(THREADS));
    if let Some(booted_s) = booted_s() {
        let started_s = booted_s + stat(START_TICKS) / ticks_per_s;
        real(to, "process_start_time_seconds", "Start, seconds since 1970", started_s);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        real(to, "process_open_fds", "Open file descriptors", open.count() as f64);
    }
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = most.map_or(f64::INFINITY, |most| most as f64);
    real(to, "process_max_fds", "File descriptors that may be open", most);
}

/// The fields of `/proc/self/stat` as numbers.
fn stat() -> Option<impl Fn(usize) -> f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name is in parentheses, and the name itself may contain parentheses.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<f64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    Some(move |place: usize| fields.get(place).copied().unwrap_or(0.0))
}

/// The time of the machine's boot in seconds since 1970, which nova reads only once.
fn booted_s() -> Option<f64> {
    static BOOTED_S: OnceLock<Option<f64>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    };
    *BOOTED_S.get_or_init(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_plausible() {
        let mut registry = Registry::default();
        process(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let figure = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}"))
        };
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let kib = own.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
        let virtual_bytes = kib.unwrap().trim().parse::<f64>().unwrap() * 1_024.0;
        assert!((figure("process_virtual_memory_bytes") / virtual_bytes - 1.0).abs() < 0.5);
        assert!((1e6..1e11).contains(&figure("process_resident_memory_bytes")));
        assert!((1.0..1e4).contains(&figure("process_threads")));
        assert!((3.0..=figure("process_max_fds")).contains(&figure("process_open_fds")));
        assert!(figure("process_cpu_seconds_total") > 0.0);
        let now_s = crate::clock::Clock::System.now_ms() as f64 / 1e3;
        let age_s = now_s - figure("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age_s), "{age_s}");
        assert!(text.contains(r#"nova_build_info{version=""#));
    }
}
