use super::*;

type Row12 = Vec<ColumnData<'static>>;

fn text(text: &str) -> ColumnData<'static> {
    ColumnData::String(Some(text.to_owned().into()))
}

/// `nvarchar(36)`, deterministic, under a key with one value.
fn row() -> Row12 {
    vec![
        text("nvarchar"),
        ColumnData::I16(Some(72)),
        ColumnData::U8(Some(0)),
        ColumnData::U8(Some(0)),
        ColumnData::I32(Some(1252)),
        ColumnData::I32(Some(1)),
        text(ALGORITHM),
        ColumnData::String(None),
        ColumnData::Binary(Some(vec![1, 2, 3].into())),
        text("RSA_OAEP"),
        text("STORE"),
        text("path"),
    ]
}

fn with(at: usize, value: ColumnData<'static>) -> Row12 {
    let mut row = row();
    row[at] = value;
    row
}

fn read(rows: impl IntoIterator<Item = Row12>) -> Result<Found, ColumnCipherError> {
    Answer { column: "T.C".into() }.read(rows.into_iter())
}

#[test]
fn a_column_and_all_values_of_its_key_are_read() {
    let found = read([row(), with(11, text("second path"))]).unwrap();
    assert_eq!(found.conversion_type.sql_type.to_string(), "nvarchar(36)");
    assert_eq!(found.encryption_type, EncryptionType::Deterministic);
    let paths: Vec<&str> = found.values.iter().map(|v| v.key_path.as_str()).collect();
    assert_eq!(paths, ["path", "second path"]);
}

#[test]
fn an_answer_that_cannot_be_is_an_error_and_no_panic() {
    use ColumnCipherError as E;
    fn is_fault(error: &E) -> bool {
        matches!(error, E::Catalogue { .. })
    }
    let null = || ColumnData::String(None);
    type Expected = fn(&E) -> bool;
    let cases: Vec<(&str, Vec<Row12>, Expected)> = vec![
        ("nothing", vec![], |e| matches!(e, E::UnknownColumn { .. })),
        ("plain", vec![with(5, ColumnData::I32(None))], |e| matches!(e, E::NotEncrypted { .. })),
        ("type 3", vec![with(5, ColumnData::I32(Some(3)))], |e| {
            matches!(e, E::UnknownEncryption { encryption_type: 3, .. })
        }),
        ("type 257", vec![with(5, ColumnData::I32(Some(257)))], |e| {
            matches!(e, E::UnknownEncryption { .. })
        }),
        ("algorithm", vec![with(6, text("AES_128"))], |e| matches!(e, E::UnknownEncryption { .. })),
        ("no algorithm", vec![with(6, null())], |e| matches!(e, E::UnknownEncryption { .. })),
        ("elsewhere", vec![with(7, text("db"))], |e| matches!(e, E::KeyElsewhere { .. })),
        ("no key", vec![with(8, ColumnData::Binary(None))], |e| matches!(e, E::HiddenKey { .. })),
        ("no path", vec![with(11, null())], |e| matches!(e, E::HiddenKey { .. })),
        ("xml", vec![with(0, text("xml"))], is_fault),
        ("no type", vec![with(0, null())], is_fault),
        (
            "decimal(99)",
            vec![{
                let mut row = with(0, text("decimal"));
                row[2] = ColumnData::U8(Some(99));
                row
            }],
            is_fault,
        ),
        ("negative length", vec![with(1, ColumnData::I64(Some(i64::MIN)))], is_fault),
        ("length as text", vec![with(1, text("72"))], is_fault),
        ("type as number", vec![with(0, ColumnData::I32(Some(1)))], is_fault),
        ("key as text", vec![with(8, text("0x01"))], is_fault),
        ("long key", vec![with(8, ColumnData::Binary(Some(vec![0; 8_001].into())))], is_fault),
        ("long path", vec![with(11, text(&"p".repeat(4_001)))], is_fault),
        ("long name", vec![with(10, text(&"p".repeat(129)))], is_fault),
        ("two types", vec![row(), with(1, ColumnData::I16(Some(70)))], is_fault),
        ("two encryptions", vec![row(), with(5, ColumnData::I32(Some(2)))], is_fault),
        ("many values", vec![row(); MAX_CEK_VALUES + 1], is_fault),
        ("few columns", vec![row()[..11].to_vec()], is_fault),
        ("no columns", vec![vec![]], is_fault),
    ];
    for (what, rows, expected) in cases {
        let error = read(rows).expect_err(what);
        assert!(expected(&error), "{what}: {error:?}");
        assert!(error.to_string().contains("T.C"), "{error}");
    }
}

#[test]
fn a_hostile_name_cannot_forge_a_line_of_a_log() {
    let error = read([with(6, text("AES\n2024-03-15 all is well"))]).unwrap_err();
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn names_are_taken_apart_and_quoted_again() {
    for (written, object, database) in [
        ("Messages", "[Messages]", None),
        ("dbo.Messages", "[dbo].[Messages]", None),
        ("[odd.name]", "[odd.name]", None),
        ("[a ]] b].\"c\"", "[a ]] b].[c]", None),
        ("db..Messages", "[db]..[Messages]", Some("[db].sys.columns")),
        ("[d]]b].dbo.M", "[d]]b].[dbo].[M]", Some("[d]]b].sys.columns")),
        ("#t", "[tempdb]..[#t]", Some("[tempdb].sys.columns")),
    ] {
        let name = table_name(written).unwrap();
        assert_eq!(object_id_argument(&name), object, "{written}");
        let query = query(&name);
        let from = database.unwrap_or("FROM sys.columns");
        assert!(query.contains(from), "{written}: {query}");
    }
    for (written, expected) in
        [("Content", "Content"), ("Birth Date", "Birth Date"), ("[a]]b]", "a]b"), ("\"c\"", "c")]
    {
        assert_eq!(column_name(written).unwrap(), expected);
    }
}

#[test]
fn what_is_no_name_is_not_sent() {
    for table in ["", "a b", "t; DROP TABLE t", "t;1", "server.db.dbo.t", "[t", "a.", "t--"] {
        let error = table_name(table).unwrap_err();
        assert!(matches!(error, ColumnCipherError::Name { what: "table", .. }), "{table}");
    }
    let long = "c".repeat(129);
    for column in ["", "[c", "[c].[d]", "[c];1", &long] {
        let error = column_name(column).unwrap_err();
        assert!(matches!(error, ColumnCipherError::Name { what: "column", .. }), "{column}");
    }
}
