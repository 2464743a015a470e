use super::*;

#[test]
fn an_error_names_the_types_and_what_would_be_lost() {
    for (from, data, to, message, remedy) in [
        (
            "nvarchar(4000)",
            utf16("42"),
            "bigint",
            "a value of type nvarchar(4000) cannot become bigint: the types have nothing in common",
            "bind an i64",
        ),
        (
            "nvarchar(4000)",
            utf16("дом"),
            "varchar(10)",
            "a value of type nvarchar(4000) cannot become varchar(10): it has a character that the \
             column's code page does not have",
            "make the column nvarchar, or its collation one of UTF-8",
        ),
        (
            "nvarchar(4000)",
            utf16("four"),
            "nvarchar(3)",
            "a value of type nvarchar(4000) cannot become nvarchar(3): it takes 4 UTF-16 code units",
            "bind a shorter value, or make the column longer",
        ),
        (
            "float",
            1.15f64.to_le_bytes().to_vec(),
            "decimal(5,1)",
            "a value of type float cannot become decimal(5,1): digits of it would be lost",
            "round the number to the column's scale",
        ),
        (
            "float",
            0.1f64.to_le_bytes().to_vec(),
            "real",
            "a value of type float cannot become real: digits of it would be lost",
            "bind an f32",
        ),
        (
            "bigint",
            300i64.to_le_bytes().to_vec(),
            "tinyint",
            "a value of type bigint cannot become tinyint: it is out of range",
            "bind a value in the range of the column's type",
        ),
    ] {
        let error = converted(conversion_type(from), &data, conversion_type(to)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.remedy(), remedy, "{message}");
    }
}

#[test]
fn types_of_different_families_are_refused_whatever_the_value() {
    let families = [
        &["bit", "int", "decimal(5,2)", "money", "real", "float"][..],
        &["char(40)", "varchar(max)", "nchar(40)", "nvarchar(40)"],
        &["binary(16)", "varbinary(max)"],
        &["date", "time(3)", "datetime", "smalldatetime", "datetime2(7)", "datetimeoffset(7)"],
        &["uniqueidentifier"],
    ];
    for (i, sources) in families.iter().enumerate() {
        for (j, targets) in families.iter().enumerate() {
            // Text and identifiers have something in common.
            if i == j || (i == 1 && j == 4) || (i == 4 && j == 1) {
                continue;
            }
            for from in *sources {
                for to in *targets {
                    let error =
                        converted(conversion_type(from), &[], conversion_type(to)).unwrap_err();
                    assert_eq!(refusal(error), Refusal::Unsupported, "{from} {to}");
                    assert!(error.remedy().starts_with("bind "));
                }
            }
        }
    }
}
