//! Numbers and times in few columns, and text cut to a width.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A number with its digits in groups of three; from ten millions on with a letter, in at most 9 columns.
pub(crate) fn grouped(n: u64) -> String {
    if n < 10_000_000 { grouped_in_full(n) } else { scaled(n as f64) }
}

/// A number with its digits in groups of three, however long.
pub(crate) fn grouped_in_full(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in at most 6 columns.
pub(crate) fn scaled(n: f64) -> String {
    match n {
        n if n < 9.95 => format!("{n:.1}"),
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 999_500.0 => three(n / 1e3, "k"),
        n if n < 999_500_000.0 => three(n / 1e6, "M"),
        n if n < 999_500_000_000.0 => three(n / 1e9, "G"),
        n if n < 999.5e12 => three(n / 1e12, "T"),
        n if n < 999.5e15 => three(n / 1e15, "P"),
        n => three(n / 1e18, "E"),
    }
}

/// A time in at most 6 columns.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 999.5e-9 => format!("{}ns", time.as_nanos()),
        s if s < 999.5e-6 => three(s * 1e6, "µs"),
        s if s < 999.5e-3 => three(s * 1e3, "ms"),
        s if s < 59.95 => three(s, "s"),
        _ => {
            let minutes = time.as_secs() / 60;
            match minutes {
                0..60 => format!("{minutes}m{:02}s", time.as_secs() % 60),
                60..6000 => format!("{}h{:02}m", minutes / 60, minutes % 60),
                _ => format!("{}d", minutes / (24 * 60)),
            }
        }
    }
}

/// Three digits and a unit.
fn three(n: f64, unit: &str) -> String {
    match n {
        n if n < 9.995 => format!("{n:.2}{unit}"),
        n if n < 99.95 => format!("{n:.1}{unit}"),
        n => format!("{n:.0}{unit}"),
    }
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in exactly so many columns: filled up with spaces, or cut and marked so.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// The text in at most so many columns; cut, it ends in `…`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > columns {
            break;
        }
        cut.push(c);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_never_wide() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (9_999_999, "9,999,999"),
            (10_000_000, "10.0M"),
            (123_456_789, "123M"),
            (1_234_567_890, "1.23G"),
        ];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(grouped(u64::MAX), "18.4E");
        assert_eq!(grouped_in_full(12_345_678), "12,345,678");
    }

    #[test]
    fn times_take_six_columns() {
        let cases = [
            (0, "0ns"),
            (999, "999ns"),
            (1_234, "1.23µs"),
            (12_345, "12.3µs"),
            (999_400, "999µs"),
            (999_600, "1.00ms"),
            (1_500_000_000, "1.50s"),
            (59_940_000_000, "59.9s"),
            (61_000_000_000, "1m01s"),
            (3_660_000_000_000, "1h01m"),
            (900_000_000_000_000, "10d"),
        ];
        for (nanos, text) in cases {
            assert_eq!(short(Duration::from_nanos(nanos)), text);
            assert!(width(text) <= 6);
        }
    }

    #[test]
    fn wide_characters_count_for_two() {
        assert_eq!(fitted("日本", 5), "日本 ");
        assert_eq!(fitted("日本語", 5), "日本…");
        assert_eq!(fitted("日本語", 4), "日… ");
        assert_eq!(cut("naïve", 5), "naïve");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("abc", 0), "");
    }
}
