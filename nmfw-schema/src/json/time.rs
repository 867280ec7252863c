//! The text of `google.protobuf.Timestamp` and `Duration`.

use prost_types::Timestamp;

use super::error::escape;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// About 10,000 years.
const MAX_DURATION: u64 = 315_576_000_000;

const NANOS: u32 = 1_000_000_000;

/// Parses a time in the form of RFC 3339, with `Z` or an offset.
///
/// # Errors
/// Fails if the text has another form, or if the time is out of range.
pub(super) fn parse_timestamp(text: &str) -> Result<(i64, i32), String> {
    let error = || {
        format!(
            "expected a time such as \"2026-01-31T12:00:00Z\", but found \"{}\"",
            escape(text)
        )
    };
    // prost-types accepts more forms.
    if !is_strict(text) {
        return Err(error());
    }
    let parsed: Timestamp = text.parse().map_err(|_| error())?;
    if !TIMESTAMPS.contains(&parsed.seconds) {
        return Err(format!(
            "the time \"{}\" is out of range: the years 1 to 9999 are possible",
            escape(text)
        ));
    }
    Ok((parsed.seconds, parsed.nanos))
}

/// Whether a text is `YYYY-MM-DDTHH:MM:SS`, a fraction of up to nine digits or none, and `Z` or
/// `+HH:MM`.
fn is_strict(text: &str) -> bool {
    fn matches(text: &[u8], form: &[u8]) -> bool {
        text.len() == form.len()
            && text.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                form => byte == form,
            })
    }
    const BEFORE: &[u8] = b"0000-00-00T00:00:00";
    let Some((before, mut rest)) = text.as_bytes().split_at_checked(BEFORE.len()) else {
        return false;
    };
    if !matches(before, BEFORE) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    rest == b"Z" || matches(rest, b"+00:00")
}

/// Formats a time.
///
/// # Errors
/// Fails if the time is out of range.
pub(super) fn format_timestamp(seconds: i64, nanos: i32) -> Result<String, String> {
    let is_valid =
        TIMESTAMPS.contains(&seconds) && u32::try_from(nanos).is_ok_and(|nanos| nanos < NANOS);
    if !is_valid {
        return Err(format!(
            "the timestamp of {seconds} s and {nanos} ns is out of range for JSON"
        ));
    }
    let whole = Timestamp { seconds, nanos: 0 }.to_string();
    let whole = whole.trim_end_matches('Z');
    Ok(format!("{whole}{}Z", fraction(nanos.unsigned_abs())))
}

/// Parses a number of seconds with the suffix `s`.
///
/// # Errors
/// Fails if the text has another form, or if the duration is out of range.
pub(super) fn parse_duration(text: &str) -> Result<(i64, i32), String> {
    let error = || {
        format!(
            "expected a duration such as \"1.5s\", but found \"{}\"",
            escape(text)
        )
    };
    let number = text.strip_suffix('s').ok_or_else(error)?;
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(error()),
        Some(parts) => parts,
        None => (number, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return Err(error());
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().map_err(|_| error())?;
    let seconds = whole
        .parse()
        .ok()
        .filter(|seconds: &u64| *seconds <= MAX_DURATION)
        .and_then(|seconds| i64::try_from(seconds).ok())
        .ok_or_else(|| {
            format!(
                "the duration \"{}\" is out of range: up to {MAX_DURATION} s are possible",
                escape(text)
            )
        })?;
    Ok(if is_negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

/// Formats a duration.
///
/// # Errors
/// Fails if the duration is out of range, or if its parts have different signs.
pub(super) fn format_duration(seconds: i64, nanos: i32) -> Result<String, String> {
    let is_valid = seconds.unsigned_abs() <= MAX_DURATION
        && nanos.unsigned_abs() < NANOS
        && (seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0));
    if !is_valid {
        return Err(format!(
            "the duration of {seconds} s and {nanos} ns is out of range for JSON"
        ));
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    Ok(format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction(nanos.unsigned_abs())
    ))
}

/// Formats nanoseconds with 0, 3, 6 or 9 digits.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}
