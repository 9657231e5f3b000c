//! How far a long command is, for a person at a terminal. Nothing is shown elsewhere.
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of bytes, of which there are so many in all.
pub fn of_bytes(all: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    styled(bar, "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
}

/// A bar of so many of a hundred, with a message.
pub fn of_percent() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
    styled(bar, "{bar:40} {percent} % {elapsed} {msg}")
}

/// A bar of things, of which there are so many in all.
pub fn of_count(all: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    styled(bar, "{bar:40} {pos}/{len} {per_sec} {eta}")
}

/// A count of bytes whose end is not known.
pub fn of_unknown_length() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    styled(bar, "{spinner} {bytes} {bytes_per_sec} {elapsed}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // A template that does not parse would only be less pretty.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
