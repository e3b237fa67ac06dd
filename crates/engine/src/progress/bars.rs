//! Progress as bars. All bars of the process share one screen, so that log lines can be printed above them.

use std::fmt;
use std::io::{self, Write};
use std::sync::{LazyLock, Once};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::plain::clock_time;

/// The bars of this process.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// Set once bars are forced onto a standard error that is no terminal.
static FORCED: Once = Once::new();

/// A new bar at the bottom of the screen.
pub(super) fn add(forced: bool, label: &str, total: u64) -> ProgressBar {
    if forced && SCREEN.is_hidden() {
        FORCED.call_once(|| SCREEN.set_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(AnyStderr), 5)));
    }
    let bar = SCREEN.add(ProgressBar::new(total));
    bar.set_style(style(super::use_color()));
    bar.set_prefix(label.to_owned());
    // The remaining time counts down during long steps too.
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

/// Takes a bar off the screen.
pub(super) fn remove(bar: &ProgressBar) {
    bar.finish_and_clear();
    SCREEN.remove(bar);
}

/// Runs `print` while no bar is on the screen: whatever it writes to the terminal stays whole.
pub fn suspend<R>(print: impl FnOnce() -> R) -> R {
    SCREEN.suspend(print)
}

fn style(color: bool) -> ProgressStyle {
    let bar = if color { "{bar:10.cyan/blue}" } else { "{bar:10}" };
    let template = format!("{{prefix}}  {bar} {{pos}}/{{len}}  {{rate}}  ETA {{left}}  {{wide_msg}}");
    // The template is a constant of two forms, which a test checks.
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{:.2}/s", state.per_sec());
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", clock_time(state.eta().as_secs_f64()));
        })
        .progress_chars("=> ")
}

/// Standard error as a terminal of usual size that understands the usual control sequences.
#[derive(Debug)]
struct AnyStderr;

impl TermLike for AnyStderr {
    fn width(&self) -> u16 {
        100
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}A")) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}B")) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}C")) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.write_str(&format!("\x1b[{n}D")) }
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        io::stderr().write_all(s.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A terminal that keeps what is written, without control sequences.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.write_str(&format!("{s}\n"))
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_shows_position_rate_and_message() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let bar = ProgressBar::with_draw_target(Some(800), target).with_style(style(false)).with_prefix("train");
        bar.set_message("loss 2.310");
        bar.set_position(400);
        bar.abandon_with_message("loss 1.250");
        let text = paper.0.lock().unwrap().clone();
        let last = text.rsplit("train").next().unwrap();
        assert!(last.contains("400/800") && last.contains("/s") && last.contains("loss 1.250"), "{text}");
        // Half of 10 characters.
        assert!(last.contains(&format!("{}>{}", "=".repeat(5), " ".repeat(4))), "{text}");
        assert!(!text.contains('\x1b'), "a control sequence in {text:?}");
    }

    #[test]
    fn both_templates_are_valid() {
        // The fallback has no prefix: a broken template would lose it.
        for color in [false, true] {
            let paper = Paper::default();
            let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
            let bar = ProgressBar::with_draw_target(Some(2), target).with_style(style(color)).with_prefix("train");
            bar.abandon();
            assert!(paper.0.lock().unwrap().contains("train"));
        }
    }
}
