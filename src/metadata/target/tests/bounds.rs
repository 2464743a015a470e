//! Texts out of proportion: the caller's stack suffices for any, and the work grows by their length
//! alone. (Were it quadratic, these tests would take minutes.)

use std::thread;

use super::*;

/// Less than a worker of tokio's has left when it gets here.
const LITTLE_STACK: usize = 128 * 1024;

/// Maps a text with little stack.
fn mapped(name: &str, text: String) -> Targets {
    let caller = thread::Builder::new().name(name.to_owned()).stack_size(LITTLE_STACK);
    caller.spawn(move || targets(&text)).unwrap().join().unwrap()
}

#[test]
fn as_many_parameters_as_there_can_be_are_mapped() {
    let rows: Vec<String> = (0..700)
        .map(|row| format!("(@P{}, @P{}, @P{})", row * 3, row * 3 + 1, row * 3 + 2))
        .collect();
    let text = format!("INSERT INTO Messages (Sender, Content, Sent) VALUES {}", rows.join(", "));
    let found = mapped("insert", text);
    assert_eq!(found.by_parameter.len(), 2_100);
    assert_eq!(shown_target(&found.of("@P1")[0]), "Messages.Content");
    assert_eq!(shown_target(&found.of("@P2099")[0]), "Messages.Sent");

    let list: Vec<String> = (0..2_100).map(|n| format!("@P{n}")).collect();
    let text = format!("SELECT 1 FROM Messages WHERE Id IN ({})", list.join(","));
    assert_eq!(mapped("in", text).by_parameter.len(), 2_100);

    let terms: Vec<String> = (0..2_100).map(|n| format!("Id = @P{n}")).collect();
    let text = format!("SELECT 1 FROM Messages WHERE {}", terms.join(" OR "));
    assert_eq!(mapped("or", text).by_parameter.len(), 2_100);

    let branches: Vec<String> =
        (0..2_100).map(|n| format!("SELECT Id FROM Messages WHERE Id = @P{n}")).collect();
    let text = branches.join(" UNION ALL ");
    assert_eq!(mapped("union", text).by_parameter.len(), 2_100);

    let updates: Vec<String> = (0..2_100).map(|n| format!("UPDATE t SET a = @P{n}")).collect();
    assert_eq!(mapped("batch", updates.join(" ")).by_parameter.len(), 2_100);

    let joins: Vec<String> =
        (0..20).map(|n| format!("JOIN Rooms{n} r{n} ON r{n}.Id = t.Id")).collect();
    let text = format!("SELECT 1 FROM t {} WHERE {}", joins.join(" "), terms.join(" OR "));
    let found = mapped("unqualified", text);
    assert_eq!(found.by_parameter.len(), 2_100);
    assert!(matches!(&found.of("@P7")[0], Target::Column { tables, .. } if tables.len() == 21));
}

#[test]
fn nesting_as_people_write_it_is_mapped() {
    let parenthesised =
        format!("SELECT 1 FROM t WHERE {}a = @P1{}", "(".repeat(20), ")".repeat(20));
    assert_eq!(shown(&mapped("parentheses", parenthesised)), "@p1: t.a");

    let derived = format!("{}t WHERE a = @P1{}", "SELECT * FROM (".repeat(8), ") x".repeat(8))
        .replace("(t WHERE", "(SELECT * FROM t WHERE");
    assert_eq!(shown(&mapped("derived", derived)), "@p1: t.a");

    let blocks =
        format!("{} UPDATE t SET a = @P1; {}", "IF 1 = 1 BEGIN ".repeat(500), "END ".repeat(500));
    assert_eq!(shown(&mapped("blocks", blocks)), "@p1: t.a");
}

#[test]
fn a_text_that_is_too_long_is_not_looked_at() {
    let text = format!("UPDATE t SET a = @P1 -- {}", "x".repeat(LONGEST_STATEMENT));
    assert!(mapped("long", text).is_empty());
    let rows = vec!["(@P1)"; 200_000].join(",");
    assert!(mapped("a megabyte", format!("INSERT INTO t (a) VALUES {rows}")).is_empty());
}

/// Texts that consist of one thing over and over, as long as they can be.
#[test]
fn a_hostile_text_takes_neither_stack_nor_time() {
    let repeated = [
        ("parentheses", "SELECT 1 FROM t WHERE ", "("),
        ("closing", "SELECT 1 FROM t WHERE a = @P1", ")"),
        ("from", "SELECT * FROM ", "("),
        ("derived", "", "SELECT * FROM ("),
        ("derived twice", "", "SELECT * FROM (("),
        ("derived thrice", "", "SELECT * FROM (((SELECT * FROM t,t,t,t,t JOIN ((("),
        ("in", "SELECT 1 WHERE ", "a IN (SELECT (a IN ("),
        ("in in", "SELECT 1 WHERE ", "a IN ((SELECT 1 WHERE "),
        ("exists", "SELECT 1 WHERE ", "EXISTS (SELECT 1 WHERE "),
        ("not", "SELECT 1 WHERE ", "NOT "),
        ("minus", "SELECT ", "- "),
        ("case", "SELECT ", "CASE "),
        ("case when", "SELECT ", "CASE WHEN "),
        ("functions", "SELECT ", "f("),
        ("isnull", "SELECT 1 FROM t WHERE a = ", "ISNULL(@P1, "),
        ("position", "SELECT ", "POSITION("),
        ("casts", "SELECT ", "CAST("),
        ("types", "SELECT CAST(1 AS ", "ARRAY("),
        ("plus", "SELECT 1", "+1"),
        ("or", "SELECT 1 FROM t WHERE a = @P1", " OR a"),
        ("is null", "SELECT 1 FROM t WHERE a", " IS NULL"),
        ("between", "SELECT 1 FROM t WHERE a", " BETWEEN 1 AND 2"),
        ("union", "SELECT 1", " UNION SELECT 1"),
        ("pivot", "SELECT 1 FROM t", " PIVOT (MAX(a) FOR b IN (c)) p"),
        ("joins", "SELECT 1 FROM t", " JOIN t ON a=b"),
        ("tables", "SELECT 1 FROM t", ",t"),
        ("compared", "SELECT 1 FROM a,b,c,d,e,f,g,h,i,j,k,l WHERE 1=1", "AND(x=@P1)"),
        ("dots", "SELECT a", ".a"),
        ("commas", "SELECT a", ",a"),
        ("stars", "SELECT *", ",*"),
        ("if", "", "IF 1=1 "),
        ("begin", "", "BEGIN "),
        ("with", "", "WITH a AS ("),
        ("hints", "SELECT 1 FROM t ", "WITH ("),
        ("delete", "", "DELETE "),
        ("delete output", "", "DELETE t OUTPUT ("),
        ("merge", "", "MERGE t USING ("),
        ("exec", "", "EXEC p @P1 "),
        ("declare", "DECLARE @a int", ",@b int=@a"),
        ("declare nothing", "", "DECLARE "),
        ("set", "", "SET @a=@b;"),
        ("insert", "", "INSERT "),
        ("select", "", "SELECT "),
        ("top", "", "SELECT TOP("),
        ("open comment", "@P1", "/* "),
        ("strings", "SELECT @P1", "''"),
        ("brackets", "SELECT @P1", "["),
        ("over", "SELECT ", "f() OVER (PARTITION BY "),
        ("interval", "SELECT ", "INTERVAL "),
        ("values", "INSERT INTO t VALUES ", "(("),
        ("union parentheses", "", "(SELECT 1 UNION "),
        ("ctes", "WITH a AS (SELECT 1 x)", ",a AS (SELECT * FROM a,a)"),
        ("convert", "SELECT ", "CONVERT(int, "),
        ("collate", "SELECT a", " COLLATE x"),
        ("at time zone", "SELECT a", " AT TIME ZONE 'x'"),
    ];
    for (name, start, again) in repeated {
        let count = (LONGEST_STATEMENT - start.len() - 5) / again.len();
        mapped(name, format!("{start}{}/*@*/", again.repeat(count)));
        // As deep as the parser goes, and no deeper.
        for count in [5, 12, 24, 48, 100] {
            mapped(name, format!("{start}{} @P1 = a", again.repeat(count)));
        }
    }
}

/// Each level names the one below twice or more: what they stand for together doubles.
#[test]
fn columns_that_multiply_are_given_up() {
    let mut ctes = String::from("WITH c0 AS (SELECT a, a b, a c FROM t)");
    for n in 1..40 {
        let below = n - 1;
        write!(
            ctes,
            ", c{n} AS (SELECT COALESCE(x.a, y.a, x.b) a, COALESCE(x.a, y.b) b FROM c{below} x, c{below} y)"
        )
        .unwrap();
    }
    mapped("meanings", format!("{ctes} SELECT 1 FROM c39 WHERE a = @P1"));

    let mut ctes = String::from("WITH c0 AS (SELECT 1 a, 2 b, 3 c)");
    for n in 1..40 {
        let below = n - 1;
        write!(ctes, ", c{n} AS (SELECT * FROM c{below} x, c{below} y)").unwrap();
    }
    mapped("columns", format!("{ctes} SELECT 1 FROM c39 WHERE a = @P1"));
}

/// Every parameter goes through many variables, each of them to many columns.
#[test]
fn variables_that_multiply_are_given_up() {
    let mut text = String::new();
    for n in 0..3_000 {
        write!(text, "SET @v{} = @v{n};", n + 1).unwrap();
    }
    for n in 0..3_000 {
        write!(text, "UPDATE t SET c{n} = @v{n};").unwrap();
    }
    mapped("variables", text);

    let names: Vec<String> = (0..200).map(|n| format!("{}{n}", "x".repeat(120))).collect();
    let mut text = format!("SELECT 1 FROM {} WHERE 1 = 1", names.join(","));
    for n in 0..2_400 {
        write!(text, " AND a = @P{n}").unwrap();
    }
    mapped("tables", text);
}
