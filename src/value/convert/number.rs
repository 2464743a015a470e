//! Integers, decimals, money and floats.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::{ConversionError, Loss, Pair};
use crate::value::SqlType;

/// The decimal digits after the point of `money`.
const MONEY_SCALE: u8 = 4;

/// ± magnitude × 10^−scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    negative: bool,
    magnitude: u128,
    scale: u16,
}

/// Why a number has no digits at a scale.
enum NoDigits {
    TooMany,
    Lost,
}

pub(super) fn convert(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let normal_form = pair.normal_form(data)?;
    match (pair.from.sql_type, pair.to.sql_type) {
        (SqlType::Real, SqlType::Float) => {
            let value = f64::from(f32::from_le_bytes(array(&normal_form)));
            pair.write(&value.to_le_bytes(), out)
        }
        (SqlType::Float, SqlType::Real) => {
            let value = f64::from_le_bytes(array(&normal_form));
            let narrow = narrowed(value).ok_or_else(|| pair.lossy(Loss::Digits))?;
            pair.write(&narrow.to_le_bytes(), out)
        }
        (_, SqlType::Real) => {
            let value =
                read(pair, &normal_form)?.to_real().ok_or_else(|| pair.lossy(Loss::Digits))?;
            pair.write(&value.to_le_bytes(), out)
        }
        (_, SqlType::Float) => {
            let value =
                read(pair, &normal_form)?.to_float().ok_or_else(|| pair.lossy(Loss::Digits))?;
            pair.write(&value.to_le_bytes(), out)
        }
        _ => write_exact(pair, read(pair, &normal_form)?, out),
    }
}

/// The number that a value in normal form stands for.
fn read(pair: Pair, normal_form: &[u8]) -> Result<Number, ConversionError> {
    Ok(match pair.from.sql_type {
        SqlType::Real => Number::of_real(f32::from_le_bytes(array(normal_form)))
            .ok_or_else(|| pair.lossy(Loss::Range))?,
        SqlType::Float => Number::of_float(f64::from_le_bytes(array(normal_form)))
            .ok_or_else(|| pair.lossy(Loss::Range))?,
        SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => {
            let (sign, magnitude) = normal_form.split_first().unwrap_or((&1, &[]));
            Number {
                negative: *sign == 0,
                magnitude: u128::from_le_bytes(array(magnitude)),
                scale: scale.into(),
            }
        }
        SqlType::Money | SqlType::SmallMoney => {
            let value = i64::from_le_bytes(array(normal_form)).rotate_left(32);
            Number { scale: MONEY_SCALE.into(), ..Number::of_integer(value) }
        }
        _ => Number::of_integer(i64::from_le_bytes(array(normal_form))),
    })
}

/// Of a target that is no float.
fn write_exact(pair: Pair, number: Number, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let scale = match pair.to.sql_type {
        SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => scale,
        SqlType::Money | SqlType::SmallMoney => MONEY_SCALE,
        _ => 0,
    };
    let magnitude = number.magnitude_at(scale.into()).map_err(|error| match error {
        NoDigits::TooMany => pair.lossy(Loss::Range),
        NoDigits::Lost => pair.lossy(Loss::Digits),
    })?;
    let number = Number { magnitude, ..number };
    match pair.to.sql_type {
        SqlType::Decimal { .. } | SqlType::Numeric { .. } => {
            let mut normal_form = Zeroizing::new([0; 17]);
            let (sign, digits) = normal_form.split_at_mut(1);
            sign.fill(u8::from(!number.negative));
            digits.copy_from_slice(&magnitude.to_le_bytes());
            pair.write(&*normal_form, out)
        }
        to => {
            let value = number.to_i64().ok_or_else(|| pair.lossy(Loss::Range))?;
            if to == SqlType::Bit && !matches!(value, 0 | 1) {
                return Err(pair.lossy(Loss::Range));
            }
            let is_money = matches!(to, SqlType::Money | SqlType::SmallMoney);
            let value = if is_money { value.rotate_left(32) } else { value };
            pair.write(&value.to_le_bytes(), out)
        }
    }
}

impl Number {
    fn of_integer(value: i64) -> Self {
        Self { negative: value < 0, magnitude: value.unsigned_abs().into(), scale: 0 }
    }

    /// `None` if no decimal is that large.
    fn of_float(value: f64) -> Option<Self> {
        if value.fract() == 0.0 { Self::of_whole(value) } else { Self::shortest(value) }
    }

    /// As [`of_float`](Self::of_float). The shortest decimal of a `real` has fewer digits.
    fn of_real(value: f32) -> Option<Self> {
        if value.fract() == 0.0 { Self::of_whole(value.into()) } else { Self::shortest(value) }
    }

    fn of_whole(value: f64) -> Option<Self> {
        /// 2¹²⁸, where U128 ends.
        const LIMIT: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;
        if value.abs() >= LIMIT {
            return None;
        }
        // Exact: it is whole and in range.
        let magnitude = value.abs() as u128;
        Some(Self { negative: value < 0.0, magnitude, scale: 0 })
    }

    /// The fewest digits that read back as the same float, which has a fraction: what Rust writes.
    fn shortest(value: impl std::fmt::LowerExp) -> Option<Self> {
        let mut text = Zeroizing::new(String::with_capacity(48));
        write!(text, "{value:e}").ok()?;
        let (digits, exponent) = text.split_once('e')?;
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        let after_point = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let magnitude = digits
            .bytes()
            .filter(u8::is_ascii_digit)
            .fold(0, |high, digit| high * 10 + u128::from(digit - b'0'));
        let scale = i64::try_from(after_point).ok()? - exponent.parse::<i64>().ok()?;
        Some(Self { negative, magnitude, scale: u16::try_from(scale).ok()? })
    }

    /// The float that stands for this number.
    fn to_float(self) -> Option<f64> {
        let value: f64 = self.text()?.parse().ok()?;
        (Self::of_float(value)?.reduced() == self.reduced()).then_some(value)
    }

    /// The `real` that stands for this number.
    fn to_real(self) -> Option<f32> {
        let value: f32 = self.text()?.parse().ok()?;
        (Self::of_real(value)?.reduced() == self.reduced()).then_some(value)
    }

    fn text(self) -> Option<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(48));
        let sign = if self.negative { "-" } else { "" };
        write!(text, "{sign}{}e-{}", self.magnitude, self.scale).ok()?;
        Some(text)
    }

    /// The same number without zeros at the end of its fraction. Zero has no sign.
    fn reduced(self) -> Self {
        let Self { mut magnitude, mut scale, .. } = self;
        while scale > 0 && magnitude.is_multiple_of(10) {
            if magnitude == 0 {
                scale = 0;
            } else {
                magnitude /= 10;
                scale -= 1;
            }
        }
        Self { negative: self.negative && magnitude != 0, magnitude, scale }
    }

    /// Its digits as a number of 10^−scale, if all that would be cut off are zeros.
    fn magnitude_at(self, scale: u16) -> Result<u128, NoDigits> {
        let power = |exponent: u16| 10u128.checked_pow(exponent.into());
        if self.magnitude == 0 {
            return Ok(0);
        }
        if let Some(more) = scale.checked_sub(self.scale) {
            return power(more)
                .and_then(|power| self.magnitude.checked_mul(power))
                .ok_or(NoDigits::TooMany);
        }
        // A power that has no place in U128 is more than any magnitude.
        let divisor = power(self.scale - scale).ok_or(NoDigits::Lost)?;
        if self.magnitude.is_multiple_of(divisor) {
            Ok(self.magnitude / divisor)
        } else {
            Err(NoDigits::Lost)
        }
    }

    fn to_i64(self) -> Option<i64> {
        let magnitude = i128::try_from(self.magnitude).ok()?;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }
}

/// The same number as a `real`, if it has it. Zero keeps its sign.
fn narrowed(value: f64) -> Option<f32> {
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == value.to_bits()).then_some(narrow)
}

/// What [`Pair::normal_form`] has made has the length of its type, so nothing is missing.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}
