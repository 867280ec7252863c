//! Durations on the command line, such as `500ms`, and in tables.

use std::time::Duration;

/// The units of durations, in nanoseconds.
const UNITS: [(&str, f64); 6] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// The longest duration that is accepted: 30 days, which is the longest timeout of a call.
const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Parses a duration for clap: a number and a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(number_len.unwrap_or(text.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let (Some((_, nanos)), Ok(number)) = (unit, number.parse::<f64>()) else {
        return Err("write a number and a unit, such as 500ms, 2s or 1.5m".to_owned());
    };
    let seconds = number * nanos / 1e9;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than zero".to_owned()),
        Ok(duration) if duration <= MAX => Ok(duration),
        _ => Err("it must be at most 30 days, which are 720h".to_owned()),
    }
}

/// Formats a duration with three digits, for tables: `850 ns`, `1.20 ms`, `12.3 s`, `5m03s`, `3d04h`.
pub(crate) fn short(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    for (unit, size) in [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)] {
        let number = nanos / size;
        match number {
            _ if number < 9.995 && unit != "ns" => return format!("{number:.2} {unit}"),
            _ if number < 99.95 && unit != "ns" => return format!("{number:.1} {unit}"),
            _ if number < 999.5 && unit != "s" => return format!("{number:.0} {unit}"),
            _ => {}
        }
    }
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (hours, days) {
        (0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (_, 0) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn durations_are_parsed() {
        for (text, nanos) in [
            ("500ms", 500_000_000),
            ("2s", 2_000_000_000),
            ("1.5m", 90_000_000_000),
            ("1h", 3_600_000_000_000),
            ("250us", 250_000),
            ("720h", MAX.as_nanos()),
        ] {
            assert_eq!(parse(text).unwrap().as_nanos(), nanos, "{text}");
        }
        for text in [
            "", "5", "s", "-1s", "1.2.3s", "0s", "721h", "1 s", "inf", "nans", "1d", "5µs",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_have_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (850, "850 ns"),
            (1_500, "1.50 µs"),
            (999_949, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_400_000, "999 ms"),
            (1_000_000_000, "1.00 s"),
            (99_000_000_000, "99.0 s"),
            (303_000_000_000, "5m03s"),
            (3_600_000_000_000, "1h00m"),
            (273_600_000_000_000, "3d04h"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), text, "{nanos}");
        }
    }
}
