//! Numbers, times and bars in few columns.

use std::time::Duration;

/// A count in at most five columns: `999`, `1.23k`, `12.3k`, `123k`, `4.56M` …
pub(super) fn count(n: u64) -> String {
    if n < 1000 { n.to_string() } else { scaled(n as f64) }
}

/// Something per second, in at most five columns; `-` for none.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        none if none.is_nan() || none < 0.05 => "-".to_string(),
        few if few < 9.95 => format!("{few:.1}"),
        some if some < 999.5 => format!("{some:.0}"),
        many => scaled(many),
    }
}

fn scaled(n: f64) -> String {
    let mut scaled = n;
    for unit in ["", "k", "M", "G", "T"] {
        // As it will be rounded: 999.6k is 1.00M.
        if scaled < 999.5 {
            return match scaled {
                one if one < 9.995 => format!("{one:.2}{unit}"),
                ten if ten < 99.95 => format!("{ten:.1}{unit}"),
                hundred => format!("{hundred:.0}{unit}"),
            };
        }
        scaled /= 1000.0;
    }
    format!("{:.0}P", scaled)
}

/// A duration in at most six columns: `12µs`, `3.4ms`, `1.2s`, `12m`; `-` for none.
pub(super) fn time(time: Option<Duration>) -> String {
    let Some(time) = time else { return "-".to_string() };
    let seconds = time.as_secs_f64();
    let in_unit = |value: f64, unit: &str| match value {
        few if few < 9.95 => format!("{few:.1}{unit}"),
        many => format!("{many:.0}{unit}"),
    };
    match seconds {
        s if s < 999.5e-9 => format!("{}ns", time.as_nanos()),
        s if s < 999.5e-6 => in_unit(s * 1e6, "µs"),
        s if s < 999.5e-3 => in_unit(s * 1e3, "ms"),
        s if s < 99.5 => in_unit(s, "s"),
        s if s < 5970.0 => format!("{:.0}m", s / 60.0),
        s => format!("{:.0}h", s / 3600.0),
    }
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

/// How long a run has been under way: `0:07`, `12:34`, `1:02:03`.
pub(super) fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
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
        let times = [500, 12_300, 3_400_000, 1_200_000_000, 99_000_000_000, 150_000_000_000];
        let shown = times.map(|ns| time(Some(Duration::from_nanos(ns))));
        assert_eq!(shown, ["500ns", "12µs", "3.4ms", "1.2s", "99s", "2m"]);
        assert_eq!(time(None), "-");
        assert_eq!([0, 512, 1536, 23 << 20, 3 << 30].map(bytes), ["0B", "512B", "1.5K", "23M", "3.0G"]);
        assert_eq!([7, 754, 3723].map(|s| clock(Duration::from_secs(s))), ["0:07", "12:34", "1:02:03"]);
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
