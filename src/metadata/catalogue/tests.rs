use super::*;
use crate::value::Length;

fn name(database: Option<&str>, schema: Option<&str>, name: &str) -> ObjectName {
    let owned = |s: Option<&str>| s.map(str::to_owned);
    ObjectName { database: owned(database), schema: owned(schema), name: name.to_owned() }
}

fn column(name: &str, type_name: &str, insertable: bool) -> CatalogueColumn {
    CatalogueColumn {
        name: name.to_owned(),
        conversion_type: catalogue_type(type_name, 8, 10, 2)
            .map(|sql_type| ConversionType { sql_type, code_page: None }),
        encryption_type: None,
        insertable,
    }
}

#[test]
fn the_types_of_the_catalogue_are_those_of_a_declaration() {
    for (name, max_length, precision, scale, expected) in [
        ("nvarchar", 72, 0, 0, SqlType::NVarChar(Length::Bounded(36))),
        ("nvarchar", -1, 0, 0, SqlType::NVarChar(Length::Max)),
        ("nchar", 20, 0, 0, SqlType::NChar(10)),
        ("varchar", 8000, 0, 0, SqlType::VarChar(Length::Bounded(8000))),
        ("varbinary", -1, 0, 0, SqlType::VarBinary(Length::Max)),
        ("binary", 16, 0, 0, SqlType::Binary(16)),
        ("decimal", 9, 18, 4, SqlType::Decimal { precision: 18, scale: 4 }),
        ("numeric", 17, 38, 0, SqlType::Numeric { precision: 38, scale: 0 }),
        ("datetime2", 7, 23, 3, SqlType::DateTime2 { scale: 3 }),
        ("time", 5, 16, 7, SqlType::Time { scale: 7 }),
        ("datetimeoffset", 10, 34, 7, SqlType::DateTimeOffset { scale: 7 }),
        ("datetime", 8, 23, 3, SqlType::DateTime),
        ("float", 8, 53, 0, SqlType::Float),
        ("real", 4, 24, 0, SqlType::Real),
        ("money", 8, 19, 4, SqlType::Money),
        ("uniqueidentifier", 16, 0, 0, SqlType::UniqueIdentifier),
    ] {
        assert_eq!(catalogue_type(name, max_length, precision, scale), Some(expected), "{name}");
    }
    for name in ["xml", "sql_variant", "timestamp", "hierarchyid", "", "nonsense"] {
        assert_eq!(catalogue_type(name, -1, 0, 0), None, "{name}");
    }
}

#[test]
fn an_insert_without_columns_counts_those_that_take_a_value() {
    let object = CatalogueObject {
        columns: vec![
            column("Id", "int", false),
            column("a", "int", true),
            column("total", "int", false),
            column("B", "int", true),
        ],
    };
    let at = |n| object.column(&Column::Position(n)).map(|c| c.name.as_str());
    assert_eq!([at(0), at(1), at(2)], [Some("a"), Some("B"), None]);
    let named = |n: &str| object.column(&Column::Named(n.into())).map(|c| c.name.as_str());
    assert_eq!([named("b"), named("B"), named("c")], [Some("B"), Some("B"), None]);
}

#[test]
fn the_query_asks_each_object_in_its_own_database() {
    let objects = [
        (name(None, Some("dbo"), "Messages"), ObjectKind::Table),
        (name(Some("od]d"), None, "t"), ObjectKind::Table),
        (name(None, None, "#mine"), ObjectKind::Table),
        (name(None, None, "AddMessage"), ObjectKind::Procedure),
    ];
    let query = catalogue_query(&objects);
    let froms: Vec<&str> = query
        .match_indices("FROM ")
        .map(|(at, _)| query[at + 5..].split(' ').next().unwrap())
        .collect();
    assert_eq!(
        froms,
        ["sys.columns", "[od]]d].sys.columns", "[tempdb].sys.columns", "sys.parameters"]
    );
    assert!(query.contains("OBJECT_ID(@n3)") && !query.contains("Messages"));
    assert_eq!(catalogue_declarations(2), "@n0 nvarchar(517),@n1 nvarchar(517)");
}
