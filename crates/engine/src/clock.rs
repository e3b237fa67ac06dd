//! Time and memory of the process: the only place that reads a clock.
//!
//! Durations come from the monotonic clock, so a changed wall clock never gives a negative rate. The wall clock serves
//! names and stamps of log files alone: no result depends on it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A running clock with laps.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    start: Instant,
    lap: Instant,
}

impl Stopwatch {
    /// A clock that starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { start: now, lap: now }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Seconds since the last lap (the start, at first); the next lap begins now.
    pub fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.lap).as_secs_f64();
        self.lap = now;
        seconds
    }
}

/// Seconds since 1970 by the wall clock, 0 where the clock is set before that.
pub fn wall_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The most memory that this process ever held (bytes, resident), or `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// The memory that this process holds now (bytes, resident), or `None` where the system does not tell.
pub fn resident_memory_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// An entry of the status of this process, in bytes.
fn status_bytes(entry: &str) -> Option<u64> {
    if cfg!(target_os = "linux") { parse(&std::fs::read_to_string("/proc/self/status").ok()?, entry) } else { None }
}

/// An entry of a process status, in bytes.
fn parse(status: &str, entry: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(entry))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn laps_add_up_to_the_whole() {
        let mut watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(5));
        let first = watch.lap();
        std::thread::sleep(Duration::from_millis(5));
        let second = watch.lap();
        assert!(first >= 0.005 && second >= 0.005, "{first} {second}");
        let total = watch.seconds();
        assert!(total >= first + second);
        // The second lap starts where the first ended, so it cannot hold the whole time.
        assert!(second <= total - 0.005);
    }

    #[test]
    fn memory_is_read_in_kib() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(2048 * 1024));
        assert_eq!(parse(status, "VmRSS:"), Some(1024));
        assert_eq!(parse("VmPeak:\t 9 kB\n", "VmHWM:"), None);
        assert_eq!(parse("VmHWM:\t x kB\n", "VmHWM:"), None);
        assert_eq!(parse("VmHWM:\t 18446744073709551615 kB\n", "VmHWM:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_follows_an_allocation() {
        let before = peak_memory_bytes().unwrap();
        let size = 64 << 20;
        let buffer = std::hint::black_box(vec![1_u8; size]);
        let after = peak_memory_bytes().unwrap();
        assert!(resident_memory_bytes().unwrap() >= size as u64);
        assert_eq!(buffer[size - 1], 1);
        // The peak before may belong to memory that was freed meanwhile, so only the floor is certain.
        assert!(after >= before && after >= size as u64, "{before} {after}");
    }

    #[test]
    fn the_wall_clock_is_after_this_code_was_written() {
        assert!(wall_seconds() > 1.7e9);
    }
}
