//! Progress as lines, for logs and pipes.

/// A line comes at the latest after this many seconds, in the first minutes of a job.
const INTERVAL: f64 = 5.0;
/// In long jobs lines come this much of the time that has passed apart ...
const INTERVAL_SHARE: f64 = 0.05;
/// ... but never further apart than this (seconds).
const MAX_INTERVAL: f64 = 60.0;
/// Two lines are never closer than this (seconds).
const MIN_INTERVAL: f64 = 1.0;

/// Decides when a line is due and what it says.
#[derive(Debug)]
pub(super) struct Lines {
    label: String,
    total: u64,
    step: u64,
    last_time: f64,
    last_tenth: u64,
}

impl Lines {
    pub(super) fn new(label: &str, total: u64) -> Self {
        Self { label: label.to_owned(), total, step: 0, last_time: 0.0, last_tenth: 0 }
    }

    /// Steps done.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// `step` steps are done after `now` seconds; the line that is due: every 5 s or 10 %, less often in long jobs.
    pub(super) fn set(&mut self, now: f64, step: u64, message: &str) -> Option<String> {
        self.step = step;
        let tenth = step.saturating_mul(10).checked_div(self.total).unwrap_or(0);
        let waited = now - self.last_time;
        let late = waited >= (now * INTERVAL_SHARE).clamp(INTERVAL, MAX_INTERVAL);
        let new_tenth = tenth > self.last_tenth && waited >= MIN_INTERVAL;
        if !late && !new_tenth {
            return None;
        }
        self.last_time = now;
        self.last_tenth = tenth;
        Some(self.line(now, message))
    }

    /// The last line: the job ended after `now` seconds, and `how` says in which way.
    pub(super) fn end(&self, now: f64, how: &str, message: &str) -> String {
        let gap = if message.is_empty() { "" } else { "  " };
        format!("{}  {}/{}  {how} {}{gap}{message}", self.label, self.step, self.total, clock_time(now))
    }

    fn line(&self, now: f64, message: &str) -> String {
        let Self { label, total, step, .. } = self;
        let percent = if *total == 0 { 100.0 } else { 100.0 * *step as f64 / *total as f64 };
        let rate = if now > 0.0 { *step as f64 / now } else { 0.0 };
        let left = if rate > 0.0 { clock_time(total.saturating_sub(*step) as f64 / rate) } else { "?".to_owned() };
        let gap = if message.is_empty() { "" } else { "  " };
        format!("{label}  {step}/{total} ({percent:.0} %)  {rate:.2}/s  ETA {left}{gap}{message}")
    }
}

/// Seconds as `m:ss` or `h:mm:ss`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floats saturates, which is right"
)]
pub(super) fn clock_time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_clock() {
        let cases = [(0.0, "0:00"), (59.6, "1:00"), (754.0, "12:34"), (3600.0, "1:00:00"), (90_061.0, "25:01:01")];
        for (seconds, text) in cases {
            assert_eq!(clock_time(seconds), text);
        }
    }

    #[test]
    fn lines_show_rate_and_remaining_time() {
        let mut lines = Lines::new("train", 800);
        // 120 steps in 10 s are 12 a second; the other 680 take 56.7 s.
        let line = lines.set(10.0, 120, "loss 4.120").unwrap();
        assert_eq!(line, "train  120/800 (15 %)  12.00/s  ETA 0:57  loss 4.120");
        lines.step = 800;
        assert_eq!(lines.end(66.4, "done in", "loss 1.0"), "train  800/800  done in 1:06  loss 1.0");
        assert_eq!(lines.end(66.4, "stopped after", ""), "train  800/800  stopped after 1:06");
    }

    #[test]
    fn a_line_comes_every_five_seconds_or_tenth_but_not_twice_a_second() {
        let mut lines = Lines::new("x", 1000);
        // Ten steps a second: a tenth takes ten seconds, so a line comes at 5, 10, 15, ... seconds.
        let times: Vec<u64> = (1..=300).filter(|&i| lines.set(i as f64 / 10.0, i, "").is_some()).collect();
        assert_eq!(times, [50, 100, 150, 200, 250, 300]);

        // 400 steps a second: a tenth takes 0.25 s, so a line comes each second.
        let mut lines = Lines::new("x", 1000);
        let times: Vec<u64> = (1..=1000).filter(|&i| lines.set(i as f64 / 400.0, i, "").is_some()).collect();
        assert_eq!(times, [400, 800]);

        // One step in 100 s, 10 000 of them: at least a line a minute, and one for each of these steps.
        let mut lines = Lines::new("x", 10_000);
        assert!((1..=50_u32).all(|i| lines.set(f64::from(i) * 100.0, i.into(), "").is_some()));
        // Ten hours of steps of 0.1 s: one line in 60 s at the end.
        let mut lines = Lines::new("x", 10_000_000);
        let count = (0..360_000_u32).filter(|&i| lines.set(f64::from(i) * 0.1, i.into(), "").is_some()).count();
        // 20 in the first 100 s, then 5 % further each (ln 12 / ln 1.05 = 51 up to 1200 s), then 34 800 s / 60 s.
        assert!((640..=660).contains(&count), "{count}");
    }

    #[test]
    fn an_empty_job_divides_nothing_by_zero() {
        let mut lines = Lines::new("x", 0);
        assert_eq!(lines.set(6.0, 0, "").unwrap(), "x  0/0 (100 %)  0.00/s  ETA ?");
    }
}
