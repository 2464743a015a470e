use Length::{Bounded, Max};

use super::*;

/// What is written, what it is, and how the type is shown.
const DECLARATIONS: &[(&str, SqlType, &str)] = &[
    ("bit", SqlType::Bit, "bit"),
    ("tinyint", SqlType::TinyInt, "tinyint"),
    ("smallint", SqlType::SmallInt, "smallint"),
    ("int", SqlType::Int, "int"),
    ("INTEGER", SqlType::Int, "int"),
    ("bigint", SqlType::BigInt, "bigint"),
    ("real", SqlType::Real, "real"),
    ("float(1)", SqlType::Real, "real"),
    ("float(24)", SqlType::Real, "real"),
    ("float(25)", SqlType::Float, "float"),
    ("float(53)", SqlType::Float, "float"),
    ("float", SqlType::Float, "float"),
    ("double  precision", SqlType::Float, "float"),
    ("decimal", SqlType::Decimal { precision: 18, scale: 0 }, "decimal(18,0)"),
    ("dec(9)", SqlType::Decimal { precision: 9, scale: 0 }, "decimal(9,0)"),
    ("decimal(18, 4)", SqlType::Decimal { precision: 18, scale: 4 }, "decimal(18,4)"),
    ("Decimal ( 38 , 38 )", SqlType::Decimal { precision: 38, scale: 38 }, "decimal(38,38)"),
    ("numeric", SqlType::Numeric { precision: 18, scale: 0 }, "numeric(18,0)"),
    ("numeric(5,2)", SqlType::Numeric { precision: 5, scale: 2 }, "numeric(5,2)"),
    ("money", SqlType::Money, "money"),
    ("smallmoney", SqlType::SmallMoney, "smallmoney"),
    ("date", SqlType::Date, "date"),
    ("time", SqlType::Time { scale: 7 }, "time(7)"),
    ("time(0)", SqlType::Time { scale: 0 }, "time(0)"),
    ("datetime", SqlType::DateTime, "datetime"),
    ("smalldatetime", SqlType::SmallDateTime, "smalldatetime"),
    ("datetime2", SqlType::DateTime2 { scale: 7 }, "datetime2(7)"),
    ("datetime2(3)", SqlType::DateTime2 { scale: 3 }, "datetime2(3)"),
    ("datetimeoffset", SqlType::DateTimeOffset { scale: 7 }, "datetimeoffset(7)"),
    ("datetimeoffset ( 0 )", SqlType::DateTimeOffset { scale: 0 }, "datetimeoffset(0)"),
    ("char", SqlType::Char(1), "char(1)"),
    ("character(8000)", SqlType::Char(8000), "char(8000)"),
    ("varchar", SqlType::VarChar(Bounded(1)), "varchar(1)"),
    ("varchar(8000)", SqlType::VarChar(Bounded(8000)), "varchar(8000)"),
    ("character varying(10)", SqlType::VarChar(Bounded(10)), "varchar(10)"),
    ("varchar(MAX)", SqlType::VarChar(Max), "varchar(max)"),
    ("nchar", SqlType::NChar(1), "nchar(1)"),
    ("nchar(4000)", SqlType::NChar(4000), "nchar(4000)"),
    ("nvarchar", SqlType::NVarChar(Bounded(1)), "nvarchar(1)"),
    (" NVARCHAR\t( 36 ) ", SqlType::NVarChar(Bounded(36)), "nvarchar(36)"),
    ("[nvarchar](36)", SqlType::NVarChar(Bounded(36)), "nvarchar(36)"),
    ("nvarchar ( max )", SqlType::NVarChar(Max), "nvarchar(max)"),
    ("binary", SqlType::Binary(1), "binary(1)"),
    ("binary(16)", SqlType::Binary(16), "binary(16)"),
    ("varbinary", SqlType::VarBinary(Bounded(1)), "varbinary(1)"),
    ("varbinary(8000)", SqlType::VarBinary(Bounded(8000)), "varbinary(8000)"),
    ("varbinary(max)", SqlType::VarBinary(Max), "varbinary(max)"),
    ("uniqueidentifier", SqlType::UniqueIdentifier, "uniqueidentifier"),
];

#[test]
fn every_declaration_is_read_and_shown_as_t_sql_does() {
    for &(text, sql_type, shown) in DECLARATIONS {
        assert_eq!(parse(text), Ok(sql_type), "{text}");
        assert_eq!(sql_type.to_string(), shown, "{text}");
        assert_eq!(parse(shown), Ok(sql_type), "{shown}");
    }
}

#[test]
fn a_type_that_sql_server_does_not_encrypt_is_named() {
    for (text, named) in [
        ("xml", "xml"),
        ("XML(CONTENT dbo.Schema)", "xml"),
        ("Text", "text"),
        ("ntext", "ntext"),
        ("image", "image"),
        ("timestamp", "timestamp"),
        ("rowversion", "rowversion"),
        ("sql_variant", "sql_variant"),
        ("hierarchyid", "hierarchyid"),
        ("geography", "geography"),
        ("geometry", "geometry"),
        ("json", "json"),
        ("vector(3)", "vector"),
        ("sysname", "sysname"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, DeclarationError::Unencryptable { name: named.into() });
        assert_eq!(error.to_string(), format!("type {named} cannot be encrypted"));
    }
}

#[test]
fn a_type_of_the_users_own_is_named_as_written() {
    for text in ["dbo.Money", "PhoneNumber", "dbo.Ids readonly", "nvarchar2(3)"] {
        let name = text.split('(').next().unwrap().to_owned();
        assert_eq!(parse(text), Err(DeclarationError::Unknown { name }));
    }
}

#[test]
fn a_declaration_that_is_none_is_not_guessed_at() {
    for text in [
        "",
        "  ",
        "(36)",
        "nvarchar(",
        "nvarchar()",
        "nvarchar(36",
        "nvarchar(36))",
        "nvarchar((36))",
        "nvarchar(36) output",
        "nvarchar(-1)",
        "nvarchar(+1)",
        "nvarchar(3 6)",
        "nvarchar(maximum)",
        "nvarchar(1,2)",
        "nchar(max)",
        "char(max)",
        "binary(max)",
        "int(4)",
        "real(24)",
        "bit()",
        "decimal()",
        "decimal(18,)",
        "decimal(,4)",
        "decimal(18,4,2)",
        "decimal(max)",
        "datetime2(max)",
        "datetime(3)",
        "float(max)",
    ] {
        assert_eq!(
            parse(text),
            Err(DeclarationError::Malformed { declaration: text.trim().into() })
        );
    }
}

#[test]
fn a_length_precision_or_scale_that_no_type_has_is_refused() {
    for text in [
        "char(0)",
        "char(8001)",
        "varchar(8001)",
        "nchar(4001)",
        "nvarchar(0)",
        "nvarchar(4001)",
        "nvarchar(65536)",
        "nvarchar(99999999999999999999)",
        "varbinary(8001)",
        "float(0)",
        "float(54)",
        "decimal(0)",
        "decimal(39)",
        "decimal(256,0)",
        "decimal(18,19)",
        "numeric(5,256)",
        "time(8)",
        "datetime2(8)",
        "datetimeoffset(256)",
    ] {
        assert_eq!(parse(text), Err(DeclarationError::OutOfRange { declaration: text.into() }));
    }
}

#[test]
fn a_shrunk_type_holds_the_value_and_is_never_wider_than_declared() {
    for (declared, data_len, shrunk) in [
        ("nvarchar(4000)", 72, "nvarchar(36)"),
        ("nvarchar(4000)", 0, "nvarchar(1)"),
        ("nvarchar(4000)", 8000, "nvarchar(4000)"),
        ("nvarchar(4000)", 8002, "nvarchar(4000)"),
        ("nvarchar(max)", 8000, "nvarchar(4000)"),
        ("nvarchar(max)", 8002, "nvarchar(max)"),
        ("nvarchar(10)", 72, "nvarchar(10)"),
        ("nchar(10)", 4, "nchar(2)"),
        ("varchar(8000)", 72, "varchar(72)"),
        ("varchar(max)", 8001, "varchar(max)"),
        ("char(10)", 3, "char(3)"),
        ("varbinary(8000)", 8000, "varbinary(8000)"),
        ("varbinary(max)", 16, "varbinary(16)"),
        ("varbinary(max)", 1 << 20, "varbinary(max)"),
        ("binary(16)", 20, "binary(16)"),
        ("datetime2(3)", 7, "datetime2(3)"),
    ] {
        assert_eq!(parse(declared).unwrap().shrunk_to(data_len).to_string(), shrunk, "{declared}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9(),\\[\\] ]{0,24}|\\PC{0,24}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_arguments_make_the_parser_panic(
        index in 0..DECLARATIONS.len(),
        arguments in "[(]?[0-9a-z, ]{0,8}[)]{0,2}",
    ) {
        let (text, ..) = DECLARATIONS[index];
        let name = text.split('(').next().unwrap();
        let _ = parse(&format!("{name}{arguments}"));
    }
}
