//! Reads scalars from their JSON text, without loss.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};

use crate::json::JsonOptions;
use crate::json::error::escape;
use crate::json::well_known::is_null_value;

/// Reads a scalar. Yields nothing for an unknown name of an enum value that is ignored.
///
/// # Errors
/// Fails if the value has another type, or is out of range.
pub(super) fn read(kind: &Kind, raw: &str, options: &JsonOptions) -> Result<Option<Value>, String> {
    let value = match kind {
        Kind::Double => Value::F64(double(raw)?),
        Kind::Float => Value::F32(float(raw)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer(raw)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer(raw)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer(raw)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer(raw)?),
        Kind::Bool => Value::Bool(match raw {
            "true" => true,
            "false" => false,
            _ => return Err(unexpected("true or false", raw)),
        }),
        Kind::String => Value::String(string(raw, "a string")?),
        Kind::Bytes => Value::Bytes(bytes(&string(raw, "a string in base64")?)?.into()),
        Kind::Enum(desc) => return Ok(enumeration(desc, raw, options)?.map(Value::EnumNumber)),
        Kind::Message(_) => return Err(unexpected("an object", raw)),
    };
    Ok(Some(value))
}

/// Reads a key of a map, which is a string in JSON.
///
/// # Errors
/// Fails if the key is not a text of its type.
pub(super) fn key(kind: &Kind, key: &str) -> Result<MapKey, String> {
    Ok(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(integer_of(key)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(integer_of(key)?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(integer_of(key)?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(integer_of(key)?),
        Kind::Bool => MapKey::Bool(match key {
            "true" => true,
            "false" => false,
            _ => return Err("expected the key \"true\" or \"false\"".to_owned()),
        }),
        _ => MapKey::String(key.to_owned()),
    })
}

/// Reads a string.
///
/// # Errors
/// Fails if the value is none, or has half a surrogate pair.
pub(super) fn string(raw: &str, expected: &str) -> Result<String, String> {
    if !raw.starts_with('"') {
        return Err(unexpected(expected, raw));
    }
    serde_json::from_str(raw).map_err(|_| "the string is not valid Unicode".to_owned())
}

fn unexpected(expected: &str, raw: &str) -> String {
    format!("expected {expected}, but found {}", found(raw))
}

/// Describes a value, for errors.
fn found(raw: &str) -> String {
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).unwrap_or_default();
            format!("the string \"{}\"", escape(&text))
        }
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b'-' | b'0'..=b'9') => format!("the number {}", escape(raw)),
        _ => raw.to_owned(),
    }
}

/// Returns the text of a number, which may be in a string.
fn number(raw: &str, expected: &str) -> Result<String, String> {
    let text = match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => return Ok(raw.to_owned()),
        Some(b'"') => string(raw, expected)?,
        _ => return Err(unexpected(expected, raw)),
    };
    Ok(text)
}

fn double(raw: &str) -> Result<f64, String> {
    let text = number(raw, "a number")?;
    if raw.starts_with('"')
        && let Some(special) = special(&text)
    {
        return Ok(special);
    }
    let value = parse::<f64>(&text, raw)?;
    if value.is_infinite() {
        return Err(format!("{} is out of range for a double", escape(&text)));
    }
    Ok(value)
}

fn float(raw: &str) -> Result<f32, String> {
    let text = number(raw, "a number")?;
    if raw.starts_with('"')
        && let Some(special) = special(&text)
    {
        #[expect(clippy::cast_possible_truncation, reason = "infinite, or not a number")]
        return Ok(special as f32);
    }
    let value = parse::<f32>(&text, raw)?;
    if value.is_infinite() {
        return Err(format!("{} is out of range for a float", escape(&text)));
    }
    Ok(value)
}

fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn parse<T: std::str::FromStr>(text: &str, raw: &str) -> Result<T, String> {
    Decimal::parse(text)
        .and_then(|_| text.parse().ok())
        .ok_or_else(|| unexpected("a number", raw))
}

fn integer<T: TryFrom<i128> + Bounds>(raw: &str) -> Result<T, String> {
    let text = number(raw, "an integer")?;
    let decimal = Decimal::parse(&text).ok_or_else(|| unexpected("an integer", raw))?;
    decimal.to_integer(&text)
}

fn integer_of<T: TryFrom<i128> + Bounds>(text: &str) -> Result<T, String> {
    Decimal::parse(text)
        .ok_or_else(|| "expected a key that is an integer".to_owned())?
        .to_integer(text)
}

/// The name of an integer type.
trait Bounds {
    const NAME: &str;
}

impl Bounds for i32 {
    const NAME: &str = "a signed 32-bit integer";
}

impl Bounds for i64 {
    const NAME: &str = "a signed 64-bit integer";
}

impl Bounds for u32 {
    const NAME: &str = "an unsigned 32-bit integer";
}

impl Bounds for u64 {
    const NAME: &str = "an unsigned 64-bit integer";
}

/// A number as JSON writes it.
struct Decimal<'a> {
    is_negative: bool,
    integer: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Parses a number in the grammar of JSON.
    fn parse(text: &'a str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (integer, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if integer.is_empty()
            || !is_digits(integer)
            || !is_digits(fraction)
            || (integer.len() > 1 && integer.starts_with('0'))
        {
            return None;
        }
        Some(Self {
            is_negative,
            integer,
            fraction,
            exponent,
        })
    }

    fn to_integer<T: TryFrom<i128> + Bounds>(&self, text: &str) -> Result<T, String> {
        let out_of_range = || format!("{} is out of range for {}", escape(text), T::NAME);
        let mut digits = format!("{}{}", self.integer, self.fraction);
        let fraction = i64::try_from(self.fraction.len()).map_err(|_| out_of_range())?;
        let mut exponent = self.exponent - fraction;
        while digits.ends_with('0') {
            digits.pop();
            exponent += 1;
        }
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return T::try_from(0).map_err(|_| out_of_range());
        }
        if exponent < 0 {
            return Err(format!(
                "expected an integer, but found the number {}",
                escape(text)
            ));
        }
        // No integer type has more digits.
        const MAX_DIGITS: usize = 20;
        let zeros = usize::try_from(exponent).map_err(|_| out_of_range())?;
        if digits.len().saturating_add(zeros) > MAX_DIGITS {
            return Err(out_of_range());
        }
        let value: i128 = format!("{digits}{}", "0".repeat(zeros))
            .parse()
            .map_err(|_| out_of_range())?;
        T::try_from(if self.is_negative { -value } else { value }).map_err(|_| out_of_range())
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A longer one is out of range as well, unless all digits of the number are zero.
    const LARGE: i64 = 1 << 40;
    let value = digits.parse().unwrap_or(LARGE).min(LARGE);
    Some(if text.starts_with('-') { -value } else { value })
}

/// Decodes base64, in the standard or the URL-safe alphabet, with or without padding.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const IN_STANDARD: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
    const IN_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);
    let engine = if text.contains(['-', '_']) {
        IN_URL_SAFE
    } else {
        IN_STANDARD
    };
    engine.decode(text).map_err(|_| {
        format!(
            "expected a string in base64, but found \"{}\"",
            escape(text)
        )
    })
}

fn enumeration(
    desc: &EnumDescriptor,
    raw: &str,
    options: &JsonOptions,
) -> Result<Option<i32>, String> {
    if raw == "null" && is_null_value(desc) {
        return Ok(Some(0));
    }
    if !raw.starts_with('"') {
        let expected = "the name or number of an enum value";
        let is_number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if !is_number {
            return Err(unexpected(expected, raw));
        }
        return integer(raw).map(Some);
    }
    let name = string(raw, "the name of an enum value")?;
    match desc.get_value_by_name(&name) {
        Some(value) => Ok(Some(value.number())),
        None if options.ignore_unknown_fields => Ok(None),
        None => Err(unknown_value(desc, &name)),
    }
}

/// The largest number of names in an error.
const MAX_NAMES: usize = 8;

fn unknown_value(desc: &EnumDescriptor, name: &str) -> String {
    let mut names: Vec<String> = desc
        .values()
        .take(MAX_NAMES)
        .map(|value| value.name().to_owned())
        .collect();
    if desc.values().len() > MAX_NAMES {
        names.push("...".to_owned());
    }
    format!(
        "`{}` has no value \"{}\": it has {}",
        desc.full_name(),
        escape(name),
        names.join(", ")
    )
}

/// Reads the paths of a field mask, which are in camel case.
///
/// # Errors
/// Fails if a path cannot be written in camel case again.
pub(super) fn field_mask(text: &str) -> Result<Vec<Value>, String> {
    let path = |path: &str| {
        let mut snake = String::new();
        for each in path.chars() {
            match each {
                'A'..='Z' => {
                    snake.push('_');
                    snake.push(each.to_ascii_lowercase());
                }
                '_' => {
                    return Err(format!(
                        "expected a path in camel case, but found \"{}\"",
                        escape(path)
                    ));
                }
                _ => snake.push(each),
            }
        }
        Ok(Value::String(snake))
    };
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(path)
        .collect()
}
