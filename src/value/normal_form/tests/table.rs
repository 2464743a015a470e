//! The table of normal forms, row by row.

use super::*;

/// Declaration, data, normal form: each the other's conversion.
const BOTH_WAYS: &[(&str, &str, &str)] = &[
    ("bit", "00", "0000000000000000"),
    ("bit", "01", "0100000000000000"),
    ("tinyint", "00", "0000000000000000"),
    ("tinyint", "c8", "c800000000000000"),
    ("tinyint", "ff", "ff00000000000000"),
    ("smallint", "ffff", "ffffffffffffffff"),
    ("smallint", "0080", "0080ffffffffffff"),
    ("smallint", "ff7f", "ff7f000000000000"),
    ("int", "2a000000", "2a00000000000000"),
    ("int", "ffffffff", "ffffffffffffffff"),
    ("int", "00000080", "00000080ffffffff"),
    ("int", "ffffff7f", "ffffff7f00000000"),
    ("bigint", "2a00000000000000", "2a00000000000000"),
    ("bigint", "0000000000000080", "0000000000000080"),
    ("bigint", "ffffffffffffff7f", "ffffffffffffff7f"),
    ("real", "00006040", "00006040"),
    ("float(24)", "00006040", "00006040"),
    ("real", "ffff7fff", "ffff7fff"),
    ("float", "0000000000000c40", "0000000000000c40"),
    ("float(25)", "ffffffffffffef7f", "ffffffffffffef7f"),
    // 12345.6789
    ("decimal(9,4)", "0115cd5b07", "0115cd5b07000000000000000000000000"),
    ("decimal(18,4)", "0115cd5b0700000000", "0115cd5b07000000000000000000000000"),
    ("numeric(28,4)", "0115cd5b070000000000000000", "0115cd5b07000000000000000000000000"),
    ("numeric(38,4)", "0115cd5b07000000000000000000000000", "0115cd5b07000000000000000000000000"),
    ("decimal(18,4)", "0015cd5b0700000000", "0015cd5b07000000000000000000000000"),
    ("decimal(5,2)", "0100000000", "0100000000000000000000000000000000"),
    // 12.34, -1.2345 and the ends of the range
    ("money", "0000000008e20100", "0000000008e20100"),
    ("money", "ffffffffc7cfffff", "ffffffffc7cfffff"),
    ("money", "0000008000000000", "0000008000000000"),
    ("money", "ffffff7fffffffff", "ffffff7fffffffff"),
    ("smallmoney", "08e20100", "0000000008e20100"),
    ("smallmoney", "c7cfffff", "ffffffffc7cfffff"),
    ("smallmoney", "00000080", "ffffffff00000080"),
    ("smallmoney", "ffffff7f", "00000000ffffff7f"),
    // 2024-03-15, 0001-01-01, 9999-12-31
    ("date", "8f460b", "8f460b"),
    ("date", "000000", "000000"),
    ("date", "dab937", "dab937"),
    // 13:14:15.1234567, cut off at each scale
    ("time(0)", "27ba00", "80ed97f46e"),
    ("time(1)", "874507", "c02fa7f46e"),
    ("time(2)", "48b748", "003daaf46e"),
    ("time(3)", "d328d702", "30b2aaf46e"),
    ("time(4)", "4298671c", "d0c1aaf46e"),
    ("time(5)", "99f20b1c01", "c4c3aaf46e"),
    ("time(6)", "007a77180b", "00c4aaf46e"),
    ("time(7)", "07c4aaf46e", "07c4aaf46e"),
    ("time(7)", "ffbf692ac9", "ffbf692ac9"),
    ("datetime2(0)", "27ba008f460b", "80ed97f46e8f460b"),
    ("datetime2(3)", "d328d7028f460b", "30b2aaf46e8f460b"),
    ("datetime2(7)", "07c4aaf46e8f460b", "07c4aaf46e8f460b"),
    ("datetime2(7)", "0000000000000000", "0000000000000000"),
    ("datetime2(7)", "ffbf692ac9dab937", "ffbf692ac9dab937"),
    // +05:30, then the ends of the offset
    ("datetimeoffset(0)", "cf6c008f460b4a01", "80b1dfda408f460b4a01"),
    ("datetimeoffset(3)", "1309a9018f460b4a01", "3076f2da408f460b4a01"),
    ("datetimeoffset(7)", "0788f2da408f460b4a01", "0788f2da408f460b4a01"),
    ("datetimeoffset(7)", "0788f2da408f460b4803", "0788f2da408f460b4803"),
    ("datetimeoffset(7)", "0788f2da408f460bb8fc", "0788f2da408f460bb8fc"),
    ("datetime", "34b10000d925da00", "34b10000d925da00"),
    ("datetime", "462effff00000000", "462effff00000000"),
    ("datetime", "7f242d00ff818b01", "7f242d00ff818b01"),
    ("smalldatetime", "34b11a03", "34b11a03"),
    ("smalldatetime", "ffff9f05", "ffff9f05"),
    ("uniqueidentifier", "0403020106050807090a0b0c0d0e0f10", "0403020106050807090a0b0c0d0e0f10"),
    ("varchar(10)", "48656c6c6f", "48656c6c6f"),
    ("varchar(5)", "48656c6c6f", "48656c6c6f"),
    ("varchar(max)", "48656c6c6f20", "48656c6c6f20"),
    ("nvarchar(10)", "480065006c006c006f00", "480065006c006c006f00"),
    ("nvarchar(5)", "480065006c006c006f00", "480065006c006c006f00"),
    ("nvarchar(max)", "3dd800de", "3dd800de"),
    ("nvarchar(1)", "3dd8", "3dd8"),
    ("varbinary(5)", "0102030405", "0102030405"),
    ("varbinary(max)", "0000", "0000"),
    ("varchar(10)", "", ""),
    ("nvarchar(max)", "", ""),
    ("varbinary(8000)", "", ""),
];

#[test]
fn every_row_of_the_table_holds_in_both_directions() {
    for &(declaration, data, normal_form) in BOTH_WAYS {
        let (sql_type, data, normal_form) = (sql_type(declaration), hex(data), hex(normal_form));
        assert_eq!(normalized(sql_type, &data).as_ref(), Ok(&normal_form), "{declaration}");
        assert_eq!(denormalized(sql_type, &normal_form).as_ref(), Ok(&data), "{declaration}");
        assert_eq!(sql_type.normal_form_len(data.len()), normal_form.len(), "{declaration}");
        assert_eq!(sql_type.data_len(normal_form.len()), data.len(), "{declaration}");
        assert!(normal_form.len() <= sql_type.max_normal_form_len(), "{declaration}");
    }
}

#[test]
fn fixed_strings_and_binaries_are_not_padded_when_written_and_padded_when_read() {
    for (declaration, data, padded) in [
        ("char(10)", "48656c6c6f", "48656c6c6f2020202020"),
        ("char(10)", "", "20202020202020202020"),
        ("nchar(10)", "480065006c006c006f00", "480065006c006c006f0020002000200020002000"),
        ("nchar(2)", "", "20002000"),
        ("binary(10)", "0102030405", "01020304050000000000"),
        ("binary(2)", "", "0000"),
    ] {
        let (sql_type, data) = (sql_type(declaration), hex(data));
        assert_eq!(normalized(sql_type, &data).as_ref(), Ok(&data), "{declaration}");
        assert_eq!(denormalized(sql_type, &data), Ok(hex(padded)), "{declaration}");
        assert_eq!(sql_type.data_len(data.len()), padded.len() / 2, "{declaration}");
    }
}

#[test]
fn what_the_server_encrypted_in_place_is_padded_already_and_stays_as_it_is() {
    for (declaration, padded) in [
        ("nchar(10)", "31003200330034003500 20002000200020002000"),
        ("char(7)", "31323334352020"),
        ("binary(4)", "01020000"),
    ] {
        let (sql_type, padded) = (sql_type(declaration), hex(&padded.replace(' ', "")));
        assert_eq!(denormalized(sql_type, &padded).as_ref(), Ok(&padded), "{declaration}");
        assert_eq!(normalized(sql_type, &padded).as_ref(), Ok(&padded), "{declaration}");
    }
}

#[test]
fn jdbcs_decimals_of_sixteen_bytes_and_shorter_ones_are_read() {
    let expected = Ok(hex("0015cd5b0700000000"));
    for len in 5..=17 {
        let mut plaintext = hex("0015cd5b07");
        plaintext.resize(len, 0);
        assert_eq!(denormalized(sql_type("decimal(18,4)"), &plaintext), expected, "{len} bytes");
    }
    // All of JDBC's 15 bytes count: the last three are no whole word, which SqlClient drops.
    assert_eq!(
        denormalized(sql_type("decimal(38,0)"), &hex("0100000000000000000000000000000040")[..16]),
        Ok(hex("0100000000000000000000000000000000")),
    );
    assert_eq!(
        denormalized(sql_type("decimal(38,0)"), &hex("01000000000000000000000000000001")),
        Ok(hex("0100000000000000000000000000000100")),
    );
}

#[test]
fn a_sign_alone_is_a_decimal_of_zero() {
    assert_eq!(denormalized(sql_type("decimal(5,2)"), &[1]), Ok(hex("0100000000")));
}

#[test]
fn negative_zero_and_zero_make_the_same_cell() {
    let zero = hex("0100000000000000000000000000000000");
    assert_eq!(normalized(sql_type("decimal(5,2)"), &hex("0000000000")), Ok(zero));
}

#[test]
fn a_decimal_of_any_width_has_the_normal_form_of_its_value() {
    let normal_form = hex("0115cd5b07000000000000000000000000");
    for len in [5, 9, 13, 17] {
        let mut data = hex("0115cd5b07");
        data.resize(len, 0);
        for declaration in ["decimal(9,4)", "numeric(38,4)"] {
            assert_eq!(normalized(sql_type(declaration), &data).as_ref(), Ok(&normal_form));
        }
    }
}

#[test]
fn an_integer_of_any_width_has_the_normal_form_of_its_value() {
    for declaration in ["tinyint", "smallint", "int", "bigint"] {
        for data in ["c8", "c800", "c8000000", "c800000000000000"] {
            let normal_form = normalized(sql_type(declaration), &hex(data));
            assert_eq!(normal_form, Ok(hex("c800000000000000")), "{data} as {declaration}");
        }
    }
    for declaration in ["smallint", "int", "bigint"] {
        for data in ["feff", "feffffff", "feffffffffffffff"] {
            let normal_form = normalized(sql_type(declaration), &hex(data));
            assert_eq!(normal_form, Ok(hex("feffffffffffffff")), "{data} as {declaration}");
        }
    }
}

#[test]
fn money_of_either_width_has_the_normal_form_of_its_value() {
    for declaration in ["money", "smallmoney"] {
        for data in ["c7cfffff", "ffffffffc7cfffff"] {
            let normal_form = normalized(sql_type(declaration), &hex(data));
            assert_eq!(normal_form, Ok(hex("ffffffffc7cfffff")), "{data} as {declaration}");
        }
    }
}

#[test]
fn any_bit_but_zero_is_one() {
    assert_eq!(normalized(SqlType::Bit, &[0x80]), Ok(hex("0100000000000000")));
    assert_eq!(denormalized(SqlType::Bit, &hex("0000000000000080")), Ok(vec![1]));
}

#[test]
fn digits_beyond_the_scale_are_refused_when_read() {
    for (declaration, normal_form) in [
        ("time(3)", "07c4aaf46e"),
        ("time(0)", "ffbf692ac9"),
        ("datetime2(6)", "07c4aaf46e8f460b"),
        // What mssql-tds 0.3 writes for 13:14:15.12345 in time(5): units of its own.
        ("time(5)", "99f20b1c01"),
    ] {
        let sql_type = sql_type(declaration);
        let expected = Err(ValueError::BeyondScale { sql_type });
        assert_eq!(denormalized(sql_type, &hex(normal_form)), expected, "{declaration}");
    }
}

#[test]
fn times_that_were_not_widened_are_read_where_their_length_shows_it() {
    for (declaration, data) in [
        ("time(0)", "7f5101"),
        ("time(3)", "d328d702"),
        ("datetime2(3)", "d328d7028f460b"),
        ("datetimeoffset(4)", "1309a9018f460b4a01"),
    ] {
        assert_eq!(denormalized(sql_type(declaration), &hex(data)), Ok(hex(data)), "{declaration}");
    }
}

#[test]
fn integers_of_their_types_own_width_are_read() {
    for (declaration, data) in
        [("bit", "01"), ("tinyint", "c8"), ("smallint", "feff"), ("int", "d6ffffff")]
    {
        assert_eq!(denormalized(sql_type(declaration), &hex(data)), Ok(hex(data)), "{declaration}");
    }
}

#[test]
fn a_time_is_cut_off_and_not_rounded_to_a_smaller_scale() {
    for (declaration, from_scale, data, expected, rescaled) in [
        ("time(3)", 7, "07c4aaf46e", "d328d702", Rescaled::Truncated),
        ("time(3)", 7, "30b2aaf46e", "d328d702", Rescaled::Exact),
        // 23:59:59.9999999 stays in its day.
        ("time(0)", 7, "ffbf692ac9", "7f5101", Rescaled::Truncated),
        ("datetime2(3)", 7, "07c4aaf46e8f460b", "d328d7028f460b", Rescaled::Truncated),
        ("datetimeoffset(3)", 7, "0788f2da408f460b4a01", "1309a9018f460b4a01", Rescaled::Truncated),
        ("datetimeoffset(7)", 7, "0788f2da408f460b4a01", "0788f2da408f460b4a01", Rescaled::Exact),
        ("datetime2(7)", 3, "d328d7028f460b", "30b2aaf46e8f460b", Rescaled::Exact),
    ] {
        let mut out = Vec::new();
        let result = rescale_time(sql_type(declaration), from_scale, &hex(data), &mut out);
        assert_eq!(result, Ok(rescaled), "{declaration}");
        assert_eq!(out, hex(expected), "{declaration}");
    }
}

#[test]
fn a_buffer_that_was_reserved_is_not_moved_so_no_copy_of_a_value_stays_behind() {
    for &(declaration, data, normal_form) in BOTH_WAYS {
        let (sql_type, data, normal_form) = (sql_type(declaration), hex(data), hex(normal_form));
        let mut out = Vec::with_capacity(sql_type.normal_form_len(data.len()));
        let place = out.as_ptr();
        normalize(sql_type, &data, &mut out).unwrap();
        assert_eq!(out.as_ptr(), place, "{declaration}");

        let mut out = Vec::with_capacity(sql_type.data_len(normal_form.len()));
        let place = out.as_ptr();
        denormalize(sql_type, &normal_form, &mut out).unwrap();
        assert_eq!(out.as_ptr(), place, "{declaration}");
    }
    for declaration in ["char(100)", "nchar(100)", "binary(100)"] {
        let sql_type = sql_type(declaration);
        let mut out = Vec::with_capacity(sql_type.data_len(0));
        let place = out.as_ptr();
        denormalize(sql_type, &[], &mut out).unwrap();
        assert_eq!(out.as_ptr(), place, "{declaration}");
    }
}
