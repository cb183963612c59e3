//! The machine on which the bench measured a figure.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// The cores that this process may use.
    cores: usize,
    /// The memory in GiB; `null` if the system does not report it.
    mem_gib: Option<u64>,
    cpu: String,
}

impl Machine {
    pub(super) fn here() -> Machine {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kib: Option<u64> =
            field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.trim_end_matches("kB").trim().parse().ok());
        let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Machine { cores, mem_gib: kib.map(|kib| (kib + (1 << 19)) >> 20), cpu }
    }
}

/// The bytes that this process has written to file systems, or `None` if the system does not report the number.
pub(super) fn written_bytes() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/io").ok()?, "write_bytes")?.parse().ok()
}

/// The bytes of this process in memory, without swapped pages, or `None` if the system does not report the number.
pub(super) fn resident_bytes() -> Option<u64> {
    let kib: u64 = field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS")?
        .trim_end_matches("kB")
        .trim()
        .parse()
        .ok()?;
    Some(kib << 10)
}

/// The first value of a name in lines of the form `name : value` (proc(5)).
fn field(text: &str, name: &str) -> Option<String> {
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: B\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A: fast one"));
        assert_eq!(field("MemTotal:       24607480 kB\n", "MemTotal").as_deref(), Some("24607480 kB"));
        assert_eq!(field(text, "absent"), None);
    }
}
