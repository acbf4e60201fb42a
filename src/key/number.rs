//! One spelling for each number in the canonical text.

use super::text::Text;

/// Appends the shortest decimal text that reads back as `value`; `None` for what isn't finite: JSON has no text for it, and `null`
/// would be shared by three values.
pub(super) fn write_float<const N: usize, F: zmij::Float + Into<f64> + Copy>(
    out: &mut Text<N>,
    value: F,
) -> Option<()> {
    value.into().is_finite().then(|| out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()))
}

/// Appends a number that came as decimal text, as it would have been written without
/// `serde_json/arbitrary_precision`.
///
/// A number that a 64-bit integer or float can't hold keeps all its digits: without that feature it
/// equals its neighbours, with it two different numbers get two keys. Returns whether 64 bits hold it.
pub(super) fn write_decimal<const N: usize>(out: &mut Text<N>, text: &str) -> bool {
    if text != "-0" {
        if let Ok(value) = text.parse::<u64>() {
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            return true;
        }
        if let Ok(value) = text.parse::<i64>() {
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            return true;
        }
    }
    let exact = Decimal::parse(text);
    if let Ok(float) = text.parse::<f64>()
        && float.is_finite()
    {
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(float);
        if Decimal::parse(shortest) == exact {
            out.extend_from_slice(shortest.as_bytes());
            return true;
        }
    }
    if exact.negative {
        out.push(b'-');
    }
    out.extend_from_slice(exact.digits.as_bytes());
    out.push(b'e');
    out.extend_from_slice(itoa::Buffer::new().format(exact.exponent).as_bytes());
    false
}

/// `±digits × 10^exponent`, with no zero at either end of the digits.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    fn parse(text: &str) -> Self {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let without_end = all.trim_end_matches('0');
        // An exponent beyond 64 bits is no number that any program computes with; it stays distinct.
        let written: i128 = exponent.trim_start_matches('+').parse().unwrap_or(i128::from(i64::MAX));
        let dropped = (all.len() - without_end.len()) as i128;
        let digits = without_end.trim_start_matches('0').to_owned();
        let exponent = if digits.is_empty() { 0 } else { written - fraction.len() as i128 + dropped };
        Self { negative, digits, exponent }
    }
}
