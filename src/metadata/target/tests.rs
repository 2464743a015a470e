use std::fmt::Write as _;

use super::*;

mod bounds;
mod forms;
mod nothing;

/// `@p1: dbo.Messages.Content, p(@x); @p2: Rooms|Messages.Name, Messages#0`: tables in scope with bars
/// between them, places with `#`, arguments of procedures in parentheses. Variables of the text, which
/// the tests name otherwise, are left out.
fn shown(targets: &Targets) -> String {
    let mut out = String::new();
    for (parameter, targets) in &targets.by_parameter {
        if !parameter.starts_with("@p") {
            continue;
        }
        let targets: Vec<String> = targets.iter().map(shown_target).collect();
        let separator = if out.is_empty() { "" } else { "; " };
        write!(out, "{separator}{parameter}: {}", targets.join(", ")).unwrap();
    }
    out
}

fn shown_target(target: &Target) -> String {
    match target {
        Target::Column { tables, column } => {
            let tables: Vec<String> = tables.iter().map(shown_name).collect();
            match column {
                Column::Named(name) => format!("{}.{name}", tables.join("|")),
                Column::Position(place) => format!("{}#{place}", tables.join("|")),
            }
        }
        Target::ProcedureParameter { procedure, parameter } => match parameter {
            Column::Named(name) => format!("{}({name})", shown_name(procedure)),
            Column::Position(place) => format!("{}({place})", shown_name(procedure)),
        },
    }
}

fn shown_name(name: &ObjectName) -> String {
    match (&name.database, &name.schema) {
        (Some(database), schema) => {
            format!("{database}.{}.{}", schema.as_deref().unwrap_or_default(), name.name)
        }
        (None, Some(schema)) => format!("{schema}.{}", name.name),
        (None, None) => name.name.clone(),
    }
}

/// Checks every statement of a table, and says of all of them what is wrong.
fn check(cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (statement, expected) in cases {
        let found = shown(&targets(statement));
        if found != *expected {
            writeln!(wrong, "{statement}\n   expected {expected}\n   found    {found}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Every statement that the tests know.
fn statements() -> impl Iterator<Item = &'static str> {
    forms::ALL.iter().copied().flatten().chain(nothing::CASES).map(|(statement, _)| *statement)
}

#[test]
fn a_parameter_is_found_however_it_is_spelt() {
    let targets = targets("INSERT INTO Messages (Content) VALUES (@Inhalt)");
    assert_eq!(targets.of("@INHALT").len(), 1);
    assert_eq!(targets.of("@inhalt"), targets.of("@Inhalt"));
    assert!(targets.of("Inhalt").is_empty());
    assert!(!targets.is_empty());
}

#[test]
fn every_object_is_named_once() {
    let targets = targets(
        "UPDATE m SET Content = @P1, Sender = @P2 FROM Messages m JOIN Rooms r ON r.Id = m.RoomId \
         WHERE Topic = @P3; EXEC dbo.Purge @P1, @P2",
    );
    let objects: Vec<_> = targets.objects().map(|(name, kind)| (name.quoted(), kind)).collect();
    assert_eq!(
        objects,
        [
            ("[Messages]".to_owned(), ObjectKind::Table),
            ("[Rooms]".to_owned(), ObjectKind::Table),
            ("[dbo].[Purge]".to_owned(), ObjectKind::Procedure),
        ]
    );
}

#[test]
fn a_name_is_quoted_with_the_parts_that_it_has() {
    let name = |database: Option<&str>, schema: Option<&str>, name: &str| ObjectName {
        database: database.map(str::to_owned),
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
    };
    assert_eq!(name(Some("db"), Some("dbo"), "t").quoted(), "[db].[dbo].[t]");
    assert_eq!(name(Some("db"), None, "t").quoted(), "[db]..[t]");
    assert_eq!(name(None, Some("dbo"), "t").quoted(), "[dbo].[t]");
    assert_eq!(name(None, None, "a]b").quoted(), "[a]]b]");
}
