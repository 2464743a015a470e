//! Exact decimals of up to 38 digits.

use std::cmp::Ordering;
use std::fmt;

/// `unscaled / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) unscaled: i128,
    pub(crate) scale: u8,
}

pub(crate) const MAX_DIGITS: u8 = 38;

fn power(exponent: u8) -> i128 {
    10i128.checked_pow(u32::from(exponent)).unwrap_or(i128::MAX)
}

impl Decimal {
    pub(crate) fn new(unscaled: i128, scale: u8) -> Self {
        Self { unscaled, scale }
    }

    /// `[-+]digits[.digits]`, without exponent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let scale = u8::try_from(fraction.len()).ok().filter(|scale| *scale <= MAX_DIGITS)?;
        let mut unscaled = 0i128;
        for c in whole.chars().chain(fraction.chars()) {
            let digit = i128::from(c.to_digit(10)?);
            unscaled = unscaled.checked_mul(10)?.checked_add(digit)?;
        }
        if unscaled >= power(MAX_DIGITS) {
            return None;
        }
        Some(Self { unscaled: if negative { -unscaled } else { unscaled }, scale })
    }

    /// Significant digits, at least the scale.
    pub(crate) fn precision(self) -> u8 {
        let digits =
            self.unscaled.unsigned_abs().checked_ilog10().map_or(1, |log| log.saturating_add(1));
        u8::try_from(digits).unwrap_or(MAX_DIGITS).max(self.scale).max(1)
    }

    /// Rounded half away from zero, or None if it no longer fits 38 digits.
    pub(crate) fn rescale(self, scale: u8) -> Option<Self> {
        let unscaled = if scale >= self.scale {
            self.unscaled.checked_mul(power(scale - self.scale))?
        } else {
            let divisor = power(self.scale - scale);
            let quotient = self.unscaled / divisor;
            let rest = (self.unscaled % divisor).unsigned_abs();
            let round =
                if rest >= divisor.unsigned_abs() - rest { self.unscaled.signum() } else { 0 };
            quotient.checked_add(round)?
        };
        (unscaled.unsigned_abs() < power(MAX_DIGITS).unsigned_abs())
            .then_some(Self { unscaled, scale })
    }

    /// Whether it has at most `precision` digits at its scale.
    pub(crate) fn fits(self, precision: u8) -> bool {
        self.unscaled.unsigned_abs() < power(precision.min(MAX_DIGITS)).unsigned_abs()
    }

    /// Toward zero.
    pub(crate) fn truncate(self) -> i128 {
        self.unscaled / power(self.scale)
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    fn parts(self) -> (i128, i128) {
        let divisor = power(self.scale);
        let fraction = self.unscaled % divisor;
        (
            self.unscaled / divisor,
            fraction.saturating_mul(power(MAX_DIGITS.saturating_sub(self.scale))),
        )
    }

    /// By value, whatever the scales.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let unscaled = self.rescale(scale)?.unscaled.checked_add(other.rescale(scale)?.unscaled)?;
        Some(Self { unscaled, scale }).filter(|sum| sum.fits(MAX_DIGITS))
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        let scale = self.scale.checked_add(other.scale)?;
        let product = Self { unscaled: self.unscaled.checked_mul(other.unscaled)?, scale };
        if scale > MAX_DIGITS {
            product.rescale(MAX_DIGITS)
        } else {
            Some(product).filter(|p| p.fits(MAX_DIGITS))
        }
    }

    /// To `scale` digits, cut off as SQL Server does; None on overflow. The divisor must not be zero.
    pub(crate) fn div(self, other: Self, scale: u8) -> Option<Self> {
        let shift = scale.checked_add(other.scale)?.checked_sub(self.scale)?;
        let unscaled = self.unscaled.checked_mul(power(shift))?.checked_div(other.unscaled)?;
        Some(Self { unscaled, scale }).filter(|q| shift <= MAX_DIGITS && q.fits(MAX_DIGITS))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let scale = usize::from(self.scale);
        let digits =
            format!("{:0>width$}", self.unscaled.unsigned_abs(), width = scale.saturating_add(1));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
        if fraction.is_empty() {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{fraction}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn thirty_eight_digits_survive() {
        let text = "-99999999999999999999999999999999999999";
        assert_eq!(d(text).to_string(), text);
        assert_eq!(d("0.00000000000000000000000000000000000001").precision(), 38);
        assert!(Decimal::parse("100000000000000000000000000000000000000").is_none());
    }

    #[test]
    fn order_does_not_depend_on_the_scale() {
        assert_eq!(d("1.50").compare(d("1.5")), Ordering::Equal);
        assert_eq!(d("-2").compare(d("-1.999")), Ordering::Less);
        assert_eq!(
            d("99999999999999999999999999999999999999")
                .compare(d("0.00000000000000000000000000000000000001")),
            Ordering::Greater
        );
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        assert_eq!(d("1.005").rescale(2).unwrap(), d("1.01"));
        assert_eq!(d("-1.005").rescale(2).unwrap(), d("-1.01"));
        assert_eq!(d("1.004").rescale(2).unwrap(), d("1.00"));
    }
}
