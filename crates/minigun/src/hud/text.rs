//! Numbers, times and bars in few columns.

use std::time::Duration;

use crate::report::text::{scaled, short};

/// A count in at most five columns: `999`, `1.23k`, `12.3k`, `123k`, `4.56M` …
pub(super) fn count(n: u64) -> String {
    if n < 1000 { n.to_string() } else { scaled(n as f64) }
}

/// Something per second, in at most five columns; `-` for none.
pub(super) fn rate(per_second: f64) -> String {
    if per_second.is_nan() || per_second < 0.05 { "-".to_string() } else { scaled(per_second) }
}

/// A duration in at most six columns; `-` for none.
pub(super) fn time(time: Option<Duration>) -> String {
    time.map_or("-".to_string(), short)
}

/// Bytes in at most six columns: `512B`, `1.5M`, `23M`.
pub(super) fn bytes(n: u64) -> String {
    let mut scaled = n as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if scaled < 1023.5 {
            let few = scaled < 9.95 && unit != "B";
            return if few { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.0}P")
}

/// A bar of `width` columns, filled by the part of `whole`, in eighths of a column.
pub(super) fn bar(part: u64, whole: u64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) };
    let mut eighths = (share * width as f64 * 8.0).round() as usize;
    // Something is never shown as nothing.
    eighths = eighths.max(usize::from(part > 0 && whole > 0));
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    let used = bar.chars().count();
    bar.push_str(&" ".repeat(width.saturating_sub(used)));
    bar
}

/// The last values as a line of `width` columns, each as high as its share of the largest.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let column = |value: &f64| match most > 0.0 {
        true => HEIGHTS[((value / most * 7.0).round() as usize).min(7)],
        false => HEIGHTS[0],
    };
    let line: String = shown.iter().map(column).collect();
    format!("{}{line}", " ".repeat(width - shown.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_rates_fit_five_columns_at_any_size() {
        let shown: Vec<_> = [0, 999, 1000, 12_345, 999_499, 999_600, 4_560_000].map(count).into();
        assert_eq!(shown, ["0", "999", "1.00k", "12.3k", "999k", "1.00M", "4.56M"]);
        assert_eq!([0.0, 0.31, 9.96, 250.4, 1234.0].map(rate), ["-", "0.3", "10", "250", "1.23k"]);
        for power in 0..64 {
            assert!(count(1 << power).len() <= 5, "{}", count(1 << power));
            assert!(rate((1u64 << power) as f64).len() <= 5);
        }
    }

    #[test]
    fn times_and_bytes_fit_six_columns() {
        assert_eq!(time(None), "-");
        assert_eq!([0, 512, 1536, 23 << 20, 3 << 30].map(bytes), ["0B", "512B", "1.5K", "23M", "3.0G"]);
    }

    #[test]
    fn a_bar_has_its_width_and_shows_that_there_is_something() {
        assert_eq!(bar(0, 10, 4), "    ");
        assert_eq!(bar(1, 1000, 4), "▏   ");
        assert_eq!(bar(5, 10, 4), "██  ");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(20, 10, 4), "████");
        assert_eq!(bar(0, 0, 2), "  ");
        assert_eq!(sparkline(&[0.0, 7.0], 3), " ▁█");
        assert_eq!(sparkline(&[1.0, 2.0, 4.0], 2), "▅█");
    }
}
