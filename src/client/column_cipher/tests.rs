use tiberius::numeric::Numeric;

use super::*;
use crate::crypto::Cek;

const SECRET: &str = "meet at the northern harbour";

fn key() -> Arc<CellKey> {
    Arc::new(CellKey::new(&Cek::generate().unwrap()))
}

fn cipher(declaration: &str, encryption_type: EncryptionType) -> ColumnCipher {
    let sql_type = SqlType::parse_declaration(declaration).unwrap();
    let code_page = CodePage::from_number(1252);
    ColumnCipher::new("T.C", ConversionType { sql_type, code_page }, encryption_type, key())
}

fn deterministic(declaration: &str) -> ColumnCipher {
    cipher(declaration, EncryptionType::Deterministic)
}

#[test]
fn equal_values_of_other_types_make_one_deterministic_cell() {
    let bigint = deterministic("bigint");
    let cell = bigint.encrypt(&7i64).unwrap();
    assert_eq!(bigint.encrypt(&7u8).unwrap(), cell);
    assert_eq!(bigint.encrypt(&Numeric::new_with_scale(700, 2)).unwrap(), cell);
    assert_ne!(bigint.encrypt(&8i64).unwrap(), cell);
    let money = deterministic("money");
    assert_eq!(
        money.encrypt(&Numeric::new_with_scale(15, 1)).unwrap(),
        money.encrypt(&1.5f64).unwrap()
    );
}

#[test]
fn equal_values_make_different_randomized_cells() {
    let cipher = cipher("nvarchar(50)", EncryptionType::Randomized);
    let (one, two) = (cipher.encrypt(&SECRET).unwrap(), cipher.encrypt(&SECRET).unwrap());
    assert_ne!(one, two);
    assert_eq!(cipher.decrypt_as::<String>(&two.unwrap()).unwrap(), SECRET);
}

#[test]
fn a_value_that_does_not_fit_is_an_error_that_does_not_show_it() {
    let long = deterministic("varchar(5)").encrypt(&SECRET).unwrap_err();
    let foreign = deterministic("varchar(50)").encrypt(&"northern \u{442}").unwrap_err();
    let digits = deterministic("decimal(9,2)").encrypt(&Numeric::new_with_scale(northern(), 3));
    let digits = digits.unwrap_err();
    let another = deterministic("int").encrypt(&SECRET).unwrap_err();
    let nan = deterministic("float").encrypt(&f64::NAN).unwrap_err();
    for error in [long, foreign, digits, another, nan] {
        assert!(matches!(error, ColumnValueError::Conversion { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("T.C") && !text.contains("northern"), "{text}");
        assert!(!text.contains(&northern().to_string()), "{text}");
    }
}

fn northern() -> i128 {
    4_711_081
}

#[test]
fn a_money_is_read_as_tiberius_does_or_with_all_of_its_digits() {
    let money = deterministic("money");
    // Not a number that an f64 has.
    let most = Numeric::new_with_scale(i128::from(i64::MAX), 4);
    let cell = money.encrypt(&most).unwrap().unwrap();
    assert_eq!(money.decrypt_as::<Numeric>(&cell).unwrap().value(), i128::from(i64::MAX));
    assert_eq!(money.decrypt_as::<f64>(&cell).unwrap(), i64::MAX as f64 / 1e4);
    assert!(money.decrypt_as::<String>(&cell).is_err());
}

#[test]
fn a_type_that_the_value_is_not_is_an_error_that_does_not_show_it() {
    let cipher = deterministic("nvarchar(50)");
    let cell = cipher.encrypt(&SECRET).unwrap().unwrap();
    let error = cipher.decrypt_as::<i32>(&cell).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("i32") && text.contains("nvarchar(50)"), "{text}");
    assert!(!text.contains("northern"), "{text}");
}

#[test]
fn no_changed_bit_of_a_cell_passes() {
    let cipher = cipher("nvarchar(50)", EncryptionType::Randomized);
    let cell = cipher.encrypt(&SECRET).unwrap().unwrap();
    for bit in 0..8 * cell.len() {
        let mut changed = cell.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = cipher.decrypt(&changed).unwrap_err();
        assert!(matches!(error, ColumnValueError::Cell { .. }), "bit {bit}: {error}");
    }
    for len in 0..cell.len() {
        assert!(cipher.decrypt(&cell[..len]).is_err());
    }
}

#[test]
fn a_cell_of_another_column_under_the_same_key_is_found_by_its_type_at_most() {
    let text = deterministic("nvarchar(50)");
    let key = text.key.clone();
    let of = |declaration| ColumnCipher {
        conversion_type: deterministic(declaration).conversion_type,
        ..ColumnCipher::new("T.D", text.conversion_type, EncryptionType::Randomized, key.clone())
    };
    let cell = text.encrypt(&SECRET).unwrap().unwrap();
    let error = of("datetime2(7)").decrypt(&cell).unwrap_err();
    assert!(matches!(error, ColumnValueError::CellValue { .. }), "{error}");
    assert_eq!(of("nvarchar(40)").decrypt_as::<String>(&cell).unwrap(), SECRET);
}

#[test]
fn fixed_strings_are_padded_when_read_and_not_when_encrypted() {
    let cipher = deterministic("char(5)");
    let cell = cipher.encrypt(&"ab").unwrap().unwrap();
    assert_eq!(cipher.decrypt_as::<String>(&cell).unwrap(), "ab   ");
    assert_eq!(*cipher.key.decrypt(&cell).unwrap(), b"ab");
}

#[test]
fn it_shows_no_key() {
    let shown = format!("{:?}", deterministic("int"));
    assert!(shown.contains("T.C") && !shown.to_lowercase().contains("key"), "{shown}");
}
