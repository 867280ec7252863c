//! Default values of fields.

use prost_reflect::Value;

use super::text::shown;

/// A default value, in a form that compares across types.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Text(Vec<u8>),
    Integer(i128),
    Double(f64),
    Float(f32),
}

impl Plain {
    fn new(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Integer(i128::from(*value)),
            Value::I32(value) | Value::EnumNumber(value) => Self::Integer(i128::from(*value)),
            Value::I64(value) => Self::Integer(i128::from(*value)),
            Value::U32(value) => Self::Integer(i128::from(*value)),
            Value::U64(value) => Self::Integer(i128::from(*value)),
            Value::F32(value) => Self::Float(*value),
            Value::F64(value) => Self::Double(*value),
            Value::String(value) => Self::Text(value.clone().into_bytes()),
            Value::Bytes(value) => Self::Text(value.to_vec()),
            Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
        })
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Integer(number) => *number == 0,
            Self::Double(number) => *number == 0.0,
            Self::Float(number) => *number == 0.0,
        }
    }
}

/// Whether a field that is absent has the same value with both defaults.
///
/// Numbers of different types are equal if their values are, and so are a string and its bytes: a
/// change of type is the subject of another rule.
pub(super) fn are_equal(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (Plain::new(old), Plain::new(new)) else {
        return true;
    };
    if old.is_zero() && new.is_zero() {
        return true;
    }
    match (old, new) {
        (Plain::Text(old), Plain::Text(new)) => old == new,
        (Plain::Text(_), _) | (_, Plain::Text(_)) => false,
        (Plain::Integer(old), Plain::Integer(new)) => old == new,
        (Plain::Integer(integer), Plain::Double(float))
        | (Plain::Double(float), Plain::Integer(integer)) => is_integer(float, integer),
        (Plain::Integer(integer), Plain::Float(float))
        | (Plain::Float(float), Plain::Integer(integer)) => is_integer(f64::from(float), integer),
        (Plain::Double(old), Plain::Double(new)) => old == new || old.is_nan() && new.is_nan(),
        (Plain::Float(old), Plain::Float(new)) => old == new || old.is_nan() && new.is_nan(),
        // 0.1 as a float and as a double differ only by their precision.
        (Plain::Double(double), Plain::Float(float))
        | (Plain::Float(float), Plain::Double(double)) => {
            double as f32 == float || double.is_nan() && float.is_nan()
        }
    }
}

/// Whether the float has exactly this value. Integers here have 64 bits at most.
fn is_integer(float: f64, integer: i128) -> bool {
    float.fract() == 0.0 && float.abs() <= 1e20 && float as i128 == integer
}

/// Returns the value as in a `.proto` file.
pub(super) fn in_words(value: &Value) -> String {
    shown(&match value {
        Value::String(text) => format!("\"{}\"", start_of(text)),
        Value::Bytes(bytes) => {
            let bytes = bytes.get(..bytes.len().min(300)).unwrap_or_default();
            format!("\"{}\"", bytes.escape_ascii())
        }
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::EnumNumber(number) => number.to_string(),
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    })
}

/// Returns more than [`shown`] keeps, so that a long text is not copied whole.
fn start_of(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use prost_reflect::Value;

    use super::are_equal;

    #[test]
    fn numbers_compare_by_value() {
        assert!(are_equal(&Value::I32(1), &Value::U64(1)));
        assert!(are_equal(&Value::Bool(true), &Value::F32(1.0)));
        assert!(are_equal(&Value::F32(0.1), &Value::F64(0.1)));
        assert!(are_equal(&Value::F32(f32::NAN), &Value::F64(f64::NAN)));
        assert!(are_equal(
            &Value::F64(f64::INFINITY),
            &Value::F32(f32::INFINITY)
        ));
        assert!(are_equal(&Value::F64(-0.0), &Value::I32(0)));
        assert!(!are_equal(
            &Value::U64(u64::MAX),
            &Value::F64(u64::MAX as f64)
        ));
        assert!(!are_equal(
            &Value::I64(i64::MAX),
            &Value::F32(i64::MAX as f32)
        ));
        assert!(are_equal(
            &Value::I64(i64::MIN),
            &Value::F32(i64::MIN as f32)
        ));
        assert!(!are_equal(&Value::F64(f64::NAN), &Value::I32(0)));
        assert!(!are_equal(&Value::F64(f64::INFINITY), &Value::U64(1)));
        assert!(!are_equal(&Value::F64(0.5), &Value::I32(0)));
        assert!(!are_equal(&Value::I32(-1), &Value::U32(u32::MAX)));
        assert!(are_equal(&Value::EnumNumber(2), &Value::I64(2)));
    }

    #[test]
    fn text_equals_text_only() {
        let text = |text: &str| Value::String(text.to_owned());
        assert!(are_equal(&text("a"), &Value::Bytes("a".into())));
        assert!(!are_equal(&text("a"), &text("b")));
        assert!(!are_equal(&text("1"), &Value::I32(1)));
        assert!(are_equal(&text(""), &Value::I32(0)));
        assert!(!are_equal(&text(""), &Value::I32(1)));
    }
}
